import json

import pytest
from plan_cases import ROUND, cluster, make_recipe

from models.horizon import derive_horizon
from models.parallel import MeshShape
from pipeline.errors import RecipeError
from pipeline.planning.corpus import Corpus, told_corpus
from pipeline.planning.devices import DEVICES
from pipeline.planning.plan import Wishes, make_plan
from pipeline.planning.workload import workload_of

NO_STEPS = {"steps": None, "global_batch_size": None}


def test_hours_and_cost_are_those_of_all_updates_on_all_devices() -> None:
    plan = make_plan(make_recipe(), cluster(8), Wishes({}, price=2.0))
    seconds = plan.chosen.time.seconds
    assert plan.chosen.mesh == MeshShape(8)
    assert plan.workload.tokens == 100 * 64 * 32
    assert plan.hours(plan.chosen) == pytest.approx(100 * seconds / 3600)
    assert plan.cost(plan.chosen) == pytest.approx(plan.hours(plan.chosen) * 8 * 2.0)
    assert make_plan(make_recipe(), cluster(8), Wishes({})).cost(plan.chosen) is None


def test_a_mesh_that_does_not_fit_has_no_hours_and_another_is_suggested() -> None:
    plan = make_plan(make_recipe(), cluster(8, memory=2.2e6), Wishes({}, usable=1.0))
    assert not plan.chosen.fits
    assert plan.hours(plan.chosen) is None
    assert plan.suggested.mesh.fsdp > 1
    assert plan.hours(plan.suggested) > 0
    assert make_plan(make_recipe(), cluster(8, memory=1e5), Wishes({})).suggested is None


def test_what_may_be_used_of_a_device_is_three_quarters_unless_told() -> None:
    assert make_plan(make_recipe(), cluster(), Wishes({})).available == 0.75e9
    assert make_plan(make_recipe(), cluster(), Wishes({}, usable=0.9)).available == 0.9e9


def test_everything_can_be_written_as_json() -> None:
    plan = make_plan(make_recipe(), cluster(8), Wishes({"fsdp": 2}, price=1.0))
    values = json.loads(json.dumps(plan.as_dict()))
    assert values["plan"]["mesh"] == {"data": 4, "fsdp": 2, "model": 1}
    assert values["plan"]["memory"]["total"] == plan.chosen.memory.total
    assert values["plan"]["time"]["seconds"] == plan.chosen.time.seconds
    assert values["suggested"]["mesh"]["data"] == 8


def test_an_unknown_way_of_gathering_is_told() -> None:
    with pytest.raises(RecipeError, match=r"runtime\.fsdp_gather is 'never'; expected one of update, micro_batch"):
        make_plan(make_recipe(), cluster(), Wishes({}, gather="never"))


def test_a_training_too_small_for_its_devices_is_doubted() -> None:
    assert "launching kernels" in make_plan(make_recipe(), cluster(8), Wishes({})).assumptions[-1]
    slow = make_plan(make_recipe(), cluster(8, flops=1e9), Wishes({}))
    assert all("launching kernels" not in line for line in slow.assumptions)


def test_without_a_corpus_the_length_is_20_tokens_for_each_parameter() -> None:
    workload = workload_of(make_recipe(pretrain=NO_STEPS | {"epochs": 3}), ROUND, None, "update")
    assert workload.tokens == pytest.approx(20 * workload.parameters, rel=0.01)
    assert "20 tokens for each parameter, since no run has preprocessed this corpus yet" in workload.assumptions[1]
    assert "pretrain.epochs 3 counts for nothing until then" in workload.assumptions[1]


def test_with_a_corpus_it_is_that_of_the_training() -> None:
    corpus = told_corpus(320_000, 32)
    assert corpus.rows == 10_000
    workload = workload_of(make_recipe(pretrain=NO_STEPS | {"epochs": 3}), ROUND, corpus, "update")
    horizon = derive_horizon("decoder", workload.parameters, 10_000, 32, epochs=3)
    assert (workload.steps, workload.global_batch_size) == (horizon.steps, horizon.global_batch_size)
    assert "10,000 rows, from --tokens 320,000" in workload.assumptions[1]


def test_the_vocabulary_is_the_corpus_s_or_the_most_that_is_allowed() -> None:
    known = workload_of(make_recipe(), ROUND, Corpus(100, 300, "a run"), "update")
    assert known.training.vocabulary_size == 300
    assert workload_of(make_recipe(), ROUND, None, "update").training.vocabulary_size == 512


def test_half_precision_and_fused_attention_are_what_the_device_has() -> None:
    auto = make_recipe(runtime={"precision": "auto"})
    on = {name: workload_of(auto, DEVICES[name], None, "update") for name in ("H100", "T4", "TPU v5e", "cpu")}
    assert {name: workload.precision for name, workload in on.items()} == {
        "H100": "mixed_bfloat16",
        "T4": "mixed_bfloat16",
        "TPU v5e": "mixed_bfloat16",
        "cpu": "float32",
    }
    assert [workload.training.activation_bytes for workload in on.values()] == [2, 2, 2, 4]
    assert [workload.training.fused_attention for workload in on.values()] == [True, False, False, False]
    assert any("mixed_float16 is faster" in line for line in on["T4"].assumptions)


def test_rows_longer_than_the_model_are_told() -> None:
    with pytest.raises(RecipeError, match=r"preprocess\.sequence_length is 32 and model\.max_sequence_length is 16"):
        workload_of(make_recipe(model={"max_sequence_length": 16}), ROUND, None, "update")
