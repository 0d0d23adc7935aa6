"""The question to a person holds what the answer needs."""

from judged_runs import GATE

from pipeline.judge.question import question


def test_the_question_shows_verdict_reasons_and_every_model_with_intervals():
    gate = GATE | {"verdict": "needs_review", "reasons": ["For review: accuracy is low."]}
    title, text = question("icd10-chapter", gate, "3", {"Report": "/report?a=b"})
    assert title == "Publish icd10-chapter? The candidate needs a person's review"
    lines = text.splitlines()
    assert lines[0].endswith("It would take the place of version 3.")
    assert "- For review: accuracy is low." in lines
    table = lines.index("| metric | candidate | champion (version 3) | linear baseline |")
    cell = "0.900 (0.800 to 1.000)"
    assert lines[table + 2] == f"| Macro-F1 | {cell} | {cell} | {cell} |", "the decisive metric comes first"
    assert "On 1,200 test rows, with 95% intervals" in text
    assert lines[-1] == "[Report](/report?a=b)"


def test_without_a_champion_it_says_so():
    scores = {name: GATE["scores"][name] for name in ("candidate", "baseline")}
    text = question("icd10-chapter", GATE | {"verdict": "pass", "scores": scores}, None, {})[1]
    assert "It would be the first champion." in text
    assert "| metric | candidate | linear baseline |" in text
