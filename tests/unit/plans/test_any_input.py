"""Whatever stands in a plan file, the loader either takes it or says what is wrong: nothing else ever comes out."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tranship.plans
from tests.unit.plans.texts import ENV, write
from tranship.plans import PlanError, fingerprint, load, resolve
from tranship.plans.document import read_document

EXAMPLES = sorted((Path(tranship.plans.__file__).parent / "examples").glob("*.yaml"))
DOCUMENTS = [read_document(path.read_text(encoding="utf-8"), path.name) for path in EXAMPLES]
WORDS = sorted({str(step) for document in DOCUMENTS for path in document.places for step in path})

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=6,
)

SETTINGS = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def bent_plans(draw: st.DrawFn) -> str:
    """An example plan with up to three of its values replaced, removed or added, as JSON, which is YAML."""
    document = draw(st.sampled_from(DOCUMENTS))
    data = copy.deepcopy(document.data)
    for path in draw(st.lists(st.sampled_from(sorted(document.places, key=str)), min_size=1, max_size=3)):
        try:
            holder: Any = data
            for step in path[:-1]:
                holder = holder[step]
            if draw(st.booleans()):
                holder[path[-1]] = draw(VALUES)
            elif draw(st.booleans()):
                del holder[path[-1]]
            else:
                holder[draw(st.sampled_from(WORDS))] = draw(VALUES)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    return json.dumps(data)


def outcome(folder: Path, text: str) -> None:
    """Load the text; every problem has a code, a message and the file, and a plan that loads can be used."""
    try:
        plan = load(write(folder, text), ENV)
    except PlanError as error:
        problems = error.problems
    else:
        assert resolve(plan)
        assert len(fingerprint(plan, "a", "b")) == 64
        return
    assert problems
    for problem in problems:
        assert problem.code.startswith("P")
        assert problem.message
        assert problem.file.endswith("plan.yaml")


@SETTINGS
@given(bent_plans())
def test_bent_plans(tmp_path: Path, text: str) -> None:
    outcome(tmp_path, text)


@SETTINGS
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.text(alphabet="{}[],:-&*!|>'\"%@`# \n\tab1~"))
def test_any_text(tmp_path: Path, text: str) -> None:
    outcome(tmp_path, text)
