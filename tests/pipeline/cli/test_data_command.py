from pipeline.cli.application import execute
from pipeline.recipes import load_recipe


def notes(folder):
    path = folder / "notes.csv"
    lines = [f"a note on day {number},{'rain' if number % 2 else 'sun'}" for number in range(40)]
    path.write_text("\n".join(["text,weather", *lines]) + "\n")
    return path


def test_profile_writes_a_recipe_that_loads(tmp_path, capsys):
    out = tmp_path / "recipe.yaml"
    assert execute(["data", "profile", str(notes(tmp_path)), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "40 rows, 40 distinct texts" in captured.err
    assert "columns that could be labels: weather" in captured.err
    recipe = load_recipe(out)
    assert (recipe.name, list(recipe.data.sources), list(recipe.tasks)) == ("notes", ["notes"], ["weather"])


def test_profile_prints_the_recipe_alone_on_stdout(tmp_path, capsys):
    assert execute(["data", "profile", str(notes(tmp_path)), "--name", "mine"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "printed.yaml").write_text(printed)
    assert load_recipe(tmp_path / "printed.yaml").name == "mine"


def test_profile_overwrites_nothing(tmp_path, capsys):
    path = notes(tmp_path)
    before = path.read_text()
    assert execute(["data", "profile", str(path), "--out", str(path)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == before


def test_profile_says_what_is_wrong_with_a_source(tmp_path, capsys):
    assert execute(["data", "profile", str(tmp_path / "nots.csv")]) == 1
    assert "there is no file" in capsys.readouterr().err


def test_a_file_called_after_a_split_is_named_after_its_folder(tmp_path, capsys):
    folder = tmp_path / "weather"
    folder.mkdir()
    notes(folder).rename(folder / "train.csv")
    assert execute(["data", "profile", str(folder / "train.csv")]) == 0
    assert "\nname: weather\n" in capsys.readouterr().out


def test_profile_refuses_options_in_the_words_of_a_recipe(tmp_path, capsys):
    path = str(notes(tmp_path))
    assert execute(["data", "profile", path, "--delimiter", ";;"]) == 1
    assert 'delimiter: received ";;"; expected text (of csv' in capsys.readouterr().err
    assert execute(["data", "profile", path, "--encoding", "foo"]) == 1
    assert "encoding is 'foo'; expected a codec" in capsys.readouterr().err
    assert execute(["data", "profile", path, "--name", "My notes"]) == 1
    assert "--name: received 'My notes'; expected lower-case letters, digits, - and _: --name my-notes" in (
        capsys.readouterr().err
    )
