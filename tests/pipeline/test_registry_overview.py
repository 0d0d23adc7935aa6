"""The registry as a page shows it."""

import shutil

from published_tickets import MODEL, publish_two

from pipeline.registry.overview import overview


def test_it_tells_versions_moves_and_figures_and_survives_lost_files(tmp_path):
    registry = publish_two(tmp_path / "workspace", {"recipe": "tickets"})
    (model,) = overview(registry)
    assert (model.name, model.recipe, model.metrics) == (MODEL, "tickets", ["macro_f1", "accuracy"])
    assert [entry.version for entry in model.entries] == ["2", "1"]
    assert (model.champion.version, model.previous.version) == ("2", "1")
    assert model.history() == {"macro_f1": [(1.0, 0.4), (2.0, 0.45)], "accuracy": [(1.0, 0.8), (2.0, 0.9)]}
    assert (model.champion.verdict, model.champion.reasons) == ("pass", ["accuracy is 0.9."])
    assert [(move.before, move.version) for move in model.moves] == [("1", "2"), (None, "1")]
    assert model.entries[0].created >= model.entries[1].created

    shutil.rmtree(registry.version(MODEL, "1").bundle)
    (model,) = overview(registry)
    assert "missing or damaged" in model.previous.lost
    assert model.history()["accuracy"] == [(2.0, 0.9)]
