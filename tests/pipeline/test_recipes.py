from pathlib import Path

import pytest
import yaml

from pipeline.config import Recipe
from pipeline.errors import RecipeError
from pipeline.recipes import apply_overrides, list_recipes, load_recipe, recipe_schema, show

SOUND = """\
name: demo
data:
  sources:
    notes:
      kind: files
      path: notes.csv
tasks:
  topic:
    data:
      source: notes
"""


@pytest.fixture
def refused(tmp_path):
    """Return the text of the error that a recipe causes, without its folder."""

    def load(text: str | bytes, *overrides: str) -> str:
        file = tmp_path / "r.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(RecipeError) as caught:
            load_recipe(file, overrides)
        assert str(file) in str(caught.value)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return load


@pytest.fixture
def sound(tmp_path) -> Path:
    file = tmp_path / "r.yaml"
    file.write_text(SOUND)
    return file


def test_reads_values_and_fills_in_defaults(sound):
    recipe = load_recipe(sound)
    assert recipe.tasks["topic"].data.source == "notes"
    assert recipe.pretrain.steps is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "tasks:",
            "pretrain:\n  stepz: 3\ntasks:",
            'r.yaml:8: pretrain.stepz: received the unknown key "stepz", did you mean "steps"?; allowed in pretrain: '
            "optimizer, learning_rate, schedule, warmup_fraction, warmup_steps, ",
            id="unknown key",
        ),
        pytest.param(
            "name: demo",
            "name: demo\ntask: {}",
            'r.yaml:2: task: received the unknown key "task", did you mean "tasks"?; allowed at the top: name, ',
            id="unknown key at the top",
        ),
        pytest.param(
            "kind: files",
            "kind: icd10cm",
            'r.yaml:6: data.sources.notes.path: received the unknown key "path"; allowed in data.sources.notes: '
            "kind, group",
            id="key of another kind of source",
        ),
        pytest.param(
            "kind: files",
            "kind: file",
            'r.yaml:5: data.sources.notes.kind: received "file", did you mean "files"?; expected one of files, icd10cm',
            id="unknown kind of source",
        ),
        pytest.param(
            "      kind: files\n",
            "",
            "r.yaml:4: data.sources.notes.kind: missing; expected one of files, icd10cm",
            id="no kind of source",
        ),
        pytest.param(
            "      path: notes.csv\n",
            "",
            "r.yaml:4: data.sources.notes: received neither of `path` and `splits`; expected one of them",
            id="missing key",
        ),
        pytest.param(
            "notes.csv",
            "3",
            "r.yaml:6: data.sources.notes.path: received 3; expected text or a list of text",
            id="neither variant fits, told once",
        ),
        pytest.param(
            "tasks:",
            "seed: many\ntasks:",
            'r.yaml:7: seed: received "many"; expected a whole number, at least 0 and below 2147483648',
            id="text for a number",
        ),
        pytest.param(
            "tasks:",
            "pretrain: {epochs: 2.5}\ntasks:",
            "r.yaml:7: pretrain.epochs: received 2.5; expected a whole number, at least 1 and at",
            id="fraction for a whole number",
        ),
        pytest.param(
            "tasks:",
            "pretrain: {learning_rate: 30}\ntasks:",
            "r.yaml:7: pretrain.learning_rate: received 30; expected a number, above 0 and below 10 or null",
            id="out of bounds",
        ),
        pytest.param(
            "tasks:",
            "model: {size: smal}\ntasks:",
            'r.yaml:7: model.size: received "smal", did you mean "small"?; expected one of tiny, mini, small, base',
            id="not one of the choices",
        ),
        pytest.param(
            "tasks:",
            "preprocess: {tokenizer: {lowercase: maybe}}\ntasks:",
            'r.yaml:7: preprocess.tokenizer.lowercase: received "maybe"; expected true or false',
            id="text for a truth value",
        ),
        pytest.param(
            "tasks:",
            "airflow: {tags: nightly}\ntasks:",
            'r.yaml:7: airflow.tags: received "nightly"; expected a list of text',
            id="text for a list",
        ),
        pytest.param(
            "tasks:",
            "publish: [a, b]\ntasks:",
            "r.yaml:7: publish: received a list of 2; expected a mapping with keys out of: registered_model, ",
            id="list for a mapping",
        ),
        pytest.param(
            "      source: notes",
            "      source: notes\n      where: {code: 5}",
            "r.yaml:11: tasks.topic.data.where.code: received 5; expected text in quotes",
            id="number for a text",
        ),
        pytest.param(
            "name: demo",
            "name: Demo 1",
            'r.yaml:1: name: received "Demo 1"; expected text (lower-case letters, digits, - and _)',
            id="not a name",
        ),
        pytest.param(
            "  topic:",
            "  My Topic:",
            'r.yaml:8: tasks.My Topic: received the key "My Topic"; expected lower-case letters, digits, - and _',
            id="task that is not a name",
        ),
        pytest.param(
            "      source: notes",
            "      source: notes\n    gate: {thresholds: {macrof1: 0.5}}",
            'tasks.topic.gate.thresholds.macrof1: received the key "macrof1", did you mean "macro_f1"?; expected one '
            "of accuracy, macro_precision, macro_recall, macro_f1, weighted_f1",
            id="unknown metric",
        ),
        pytest.param(
            "tasks:",
            "  checks: {expectations: {notes: [{type: expect_x, typ: 3}]}}\ntasks:",
            'data.checks.expectations.notes.0.typ: received the unknown key "typ", did you mean "type"?; allowed in '
            "data.checks.expectations.notes.0: type, severity, arguments",
            id="unknown key in a list",
        ),
        pytest.param(
            "tasks:\n  topic:\n    data:\n      source: notes\n",
            "tasks: {}\n",
            "r.yaml:7: tasks: received an empty mapping; expected a mapping with at least one entry",
            id="no task",
        ),
        pytest.param(
            "source: notes",
            "source: letters",
            "r.yaml:10: tasks.topic.data.source is 'letters'; data.sources has: notes",
            id="source that is not defined",
        ),
        pytest.param(
            "tasks:",
            "runtime: {micro_batch_size: 5}\ntasks:",
            "global_batch_size is 16, not a multiple of runtime.micro_batch_size (5); make one divide the other",
            id="impossible combination",
        ),
        pytest.param(
            "name: demo",
            "name: demo\nseed: 1\nseed: 2",
            'r.yaml:3: seed: received the key "seed" twice, first in line 2; keep one of them',
            id="key twice",
        ),
        pytest.param(
            "      source: notes",
            "      source: notes\n      source: letters",
            'r.yaml:11: tasks.topic.data.source: received the key "source" twice, first in line 10; keep one of them',
            id="key twice, deep inside",
        ),
    ],
)
def test_says_where_what_was_received_and_what_is_allowed(refused, old, new, expected):
    message = refused(SOUND.replace(old, new, 1))
    assert expected in message
    assert message.count("expected") <= 2, "the same problem must not be told once per variant"


def test_lists_every_problem_of_a_recipe_at_once(refused):
    message = refused(SOUND.replace("name: demo", "nam: demo\nseed: -1"))
    assert message.splitlines()[0] == "r.yaml: 3 problems"
    assert "\n  r.yaml:1: nam: received the unknown key" in message
    assert "\n  r.yaml: name: missing; expected text" in message
    assert "\n  r.yaml:2: seed: received -1; expected a whole number, at least 0" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "r.yaml:1: received an empty file, expected a mapping with at least name, data and tasks"),
        ("# nothing\n", "r.yaml:1: received an empty file"),
        ("- a\n- b\n", "r.yaml:1: received a list of 2, expected a mapping"),
        ("name: [demo\nseed: 1\n", "r.yaml:2: not valid YAML: "),
        ("name: demo\n\tseed: 1\n", "; indent with blanks: YAML takes no tabs"),
        ("name: demo: two\n", "r.yaml:1: not valid YAML: mapping values are not allowed here; put text that holds"),
        ("a:\n    b: 1\n  c: 2\n", "; keys of one mapping, and the dashes of one list, begin in the same column"),
        (
            "name: demo\nseed: !!python/name:os.system x\n",
            "r.yaml:2: not valid YAML: could not determine a constructor",
        ),
        ("name: demo\n---\nname: other\n", "r.yaml:2: not valid YAML: "),
        ("name: demo\nseed: \x07\n", "r.yaml:2: not valid YAML: special characters are not allowed (U+0007)"),
        (b"name: demo\ndescription: \xff\n", "r.yaml:2: received bytes that are not UTF-8; save the file as UTF-8"),
    ],
)
def test_unreadable_file_is_told_with_its_line(refused, text, expected):
    assert expected in refused(text)


def test_missing_file_names_those_that_are_there(sound):
    with pytest.raises(RecipeError, match=r"there is no such recipe file; .* has: .*r\.yaml"):
        load_recipe(sound.with_name("x.yaml"))
    with pytest.raises(RecipeError, match=r"received a folder, expected a recipe file; .* has: .*r\.yaml"):
        load_recipe(sound.parent)
    with pytest.raises(RecipeError, match="start in the project's folder"):
        load_recipe(sound.parent / "nowhere" / "x.yaml")


def test_scalars_that_look_like_something_else_stay_text(tmp_path):
    file = tmp_path / "r.yaml"
    where = "where: {a: no, b: 017, c: 2026-04-01, d: 12:30}"
    file.write_text(SOUND + f"      {where}\npretrain: {{learning_rate: 1e-4}}\n")
    recipe = load_recipe(file)
    assert recipe.tasks["topic"].data.where == {"a": "no", "b": "017", "c": "2026-04-01", "d": "12:30"}
    assert recipe.pretrain.learning_rate == 1e-4


def test_anchors_and_merges_work_and_a_merged_key_may_be_repeated(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(
        SOUND.replace("  topic:", "  topic: &base")
        + "    finetune: {epochs: 2}\n  other:\n    <<: *base\n    finetune: {epochs: 3}\n"
    )
    recipe = load_recipe(file)
    assert recipe.tasks["other"].data == recipe.tasks["topic"].data
    assert recipe.tasks["other"].finetune.epochs == 3


def test_overrides_change_values_and_create_left_out_sections(sound):
    recipe = load_recipe(
        sound,
        [
            "pretrain.steps=200",
            "pretrain.learning_rate=1e-4",
            "tasks.topic.gate.thresholds.accuracy=0.5",
            "tasks.topic.data.where.kind=no",
            "data.sources.notes.group=null",
            "airflow.tags=[a, b]",
            "data.sources.more={kind: files, path: more.csv}",
            "description=a = b",
        ],
    )
    assert recipe.pretrain.steps == 200
    assert recipe.pretrain.learning_rate == 1e-4
    assert recipe.tasks["topic"].gate.thresholds == {"accuracy": 0.5}
    assert recipe.tasks["topic"].data.where == {"kind": "no"}
    assert recipe.airflow.tags == ["a", "b"]
    assert list(recipe.data.sources) == ["notes", "more"]
    assert recipe.description == "a = b"


def test_later_override_wins_and_the_given_values_stay_as_they_were():
    values = yaml.safe_load(SOUND)
    assert apply_overrides(values, ["seed=1", "seed=2", "data.sources.notes.path=b"])["seed"] == 2
    assert values == yaml.safe_load(SOUND)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("pretrain.stepz=1", 'pretrain.stepz: received the unknown key "stepz", did you mean "steps"?; allowed in'),
        (
            "trainer.steps=1",
            'trainer: received the unknown key "trainer", did you mean "pretrain"?; allowed at the top',
        ),
        ("tasks.topik.finetune.epochs=1", 'tasks.topik: received the unknown key "topik", did you mean "topic"?; all'),
        ("data.sources.zzz.path=x", 'data.sources.zzz: received the unknown key "zzz"; allowed in data.sources: notes'),
        ("data.sources.notes.pth=x", '"pth", did you mean "path"?; allowed in data.sources.notes: text, text_pair,'),
        ("tasks.topic.gate.thresholds.acc=1", 'thresholds.acc: received the unknown key "acc"'),
        ("seed.x=1", "seed.x: received a key inside seed, which is a whole number, at least 0 and below 2147483648"),
        ("data.corpus.0=a", "received a key inside data.corpus, which is a list of text; expected data.corpus=VALUE"),
        ("pretrain.steps", 'received "pretrain.steps", expected dotted.name=value such as pretrain.steps=200'),
        ("a..b=1", 'received "a..b=1", expected dotted.name=value'),
        ("pretrain.steps=[", "override pretrain.steps=[:1: not valid YAML"),
        (
            "pretrain.steps=many",
            '(overridden): pretrain.steps: received "many"; expected a whole number, at least 1 and at',
        ),
    ],
)
def test_wrong_override_is_told_like_a_wrong_key(refused, override, expected):
    assert expected in refused(SOUND, override)


def test_shown_recipe_has_the_defaults_and_reads_back_the_same(sound, tmp_path):
    recipe = load_recipe(
        sound, ["pretrain.learning_rate=1e-5", "tasks.topic.data.where={a: 'no', b: '017', c: '1e-4', d: 2026-04-01}"]
    )
    text = show(recipe)
    assert "mask_fraction: 0.2" in text
    copy = tmp_path / "copy.yaml"
    copy.write_text(text)
    assert load_recipe(copy) == recipe
    assert Recipe.model_validate(yaml.safe_load(text)) == recipe, "readable for YAML 1.1 as well"


def test_schema_covers_every_key_of_a_shown_recipe(sound):
    schema = recipe_schema()
    assert set(yaml.safe_load(show(load_recipe(sound)))) == set(schema["properties"])
    assert schema["$defs"]["Pretrain"]["properties"]["mask_fraction"]["maximum"] == 0.5


def test_lists_the_recipe_files_of_a_folder(tmp_path):
    for name in ("b.yaml", "a.yml", ".hidden.yaml", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.yaml").mkdir()
    assert [file.name for file in list_recipes(tmp_path)] == ["a.yml", "b.yaml"]
    with pytest.raises(RecipeError, match=r"there is no such folder of recipes; .* set TRADEWIND_RECIPES"):
        list_recipes(tmp_path / "nowhere")
