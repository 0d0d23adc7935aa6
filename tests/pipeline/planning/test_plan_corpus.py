import numpy as np
import pytest
from plan_cases import ROUND, make_recipe
from tiny_steps import make_tokens

from models.cost import NO_GROUPS, GroupHead
from pipeline.config import Recipe
from pipeline.data.tokens.groups import GROUPS
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.errors import RecipeError
from pipeline.planning.corpus import find_corpus, read_tokens, vocabulary_of
from pipeline.planning.workload import workload_of
from pipeline.store.runs import Runs


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("500M", 500_000_000), ("1.5B", 1_500_000_000), ("2e9", 2_000_000_000), ("20_000", 20_000), ("3t", 3 * 10**12)],
)
def test_tokens_are_read(text, tokens) -> None:
    assert read_tokens(text) == tokens


@pytest.mark.parametrize("text", ["many", "-5", "0", "5X"])
def test_tokens_that_are_no_number_are_told(text) -> None:
    with pytest.raises(RecipeError, match=f"--tokens: received '{text}'; expected a number of tokens, such as 500M"):
        read_tokens(text)


def record(workspace, recipe: Recipe, entry: dict) -> None:
    runs = Runs(workspace)
    runs.create("planned-1", recipe.model_dump(mode="json"))
    runs.record("planned-1", "preprocess", entry)


def test_the_corpus_of_a_run_with_the_same_data_is_found(tmp_path) -> None:
    folder = tmp_path / "artifacts" / "preprocess"
    folder.mkdir(parents=True)
    tokens = make_tokens(tmp_path)
    tokens.rename(folder / "abc")
    record(tmp_path, make_recipe(), {"reference": "preprocess/abc", "hit": False})
    corpus = find_corpus(make_recipe(pretrain={"steps": 7}, model={"num_layers": 9}), tmp_path)
    assert corpus.rows == len(ShardedRows(folder / "abc" / "corpus" / "train"))
    assert corpus.vocabulary_size == load_tokenizer(folder / "abc" / "tokenizer.json").get_vocab_size()
    assert corpus.source == "the corpus that run planned-1 has preprocessed"
    assert find_corpus(make_recipe(preprocess={"sequence_length": 64}), tmp_path) is None


def test_the_groups_of_a_corpus_are_planned_for_once_they_are_known(tmp_path) -> None:
    folder = tmp_path / "artifacts" / "preprocess"
    folder.mkdir(parents=True)
    make_tokens(tmp_path).rename(folder / "abc")
    corpus = folder / "abc" / "corpus" / "train"
    np.save(corpus / GROUPS, np.arange(len(np.load(corpus / GROUPS)), dtype=np.int32) // 2)
    sources = {"sources": {"notes": {"kind": "files", "path": "notes.csv", "group": "place"}}}
    recipe = make_recipe(data=sources, model={"architecture": "encoder"}, pretrain={"group_weight": 1.0})
    record(tmp_path, recipe, {"reference": "preprocess/abc", "hit": False})
    known, unknown = (
        workload_of(recipe, ROUND, found, gather="update") for found in (find_corpus(recipe, tmp_path), None)
    )
    groups = int(np.load(corpus / GROUPS).max()) + 1
    assert known.training.groups == GroupHead(groups, ShardedRows(corpus).segments_per_row / 32)
    told = "what tells groups apart (pretrain.group_weight) is left out"
    assert not any(told in line for line in known.assumptions)
    assert any(told in line for line in unknown.assumptions)
    assert unknown.training.groups == NO_GROUPS


def test_without_a_run_or_its_artifact_there_is_no_corpus(tmp_path) -> None:
    assert find_corpus(make_recipe(), tmp_path) is None
    record(tmp_path, make_recipe(), {"reference": "preprocess/gone", "hit": False})
    assert find_corpus(make_recipe(), tmp_path) is None


def test_the_vocabulary_of_a_given_tokenizer_is_its_own(tmp_path) -> None:
    tokens = make_tokens(tmp_path)
    given = {"kind": "file", "path": str(tokens / "tokenizer.json")}
    size, source = vocabulary_of(make_recipe(preprocess={"tokenizer": given}))
    assert size == load_tokenizer(tokens / "tokenizer.json").get_vocab_size()
    assert "tokenizer.json" in source
    size, source = vocabulary_of(make_recipe())
    assert (size, "the most that preprocess.tokenizer.vocabulary_size allows" in source) == (512, True)
