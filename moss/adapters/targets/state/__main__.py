"""Owns the helper's side: one step, asked as JSON in its only word, answered as one JSON line."""

import sys

from pydantic import ValidationError

from moss.adapters.targets.state.steps import perform
from moss.adapters.targets.state.words import Answer, Asked
from moss.errors import NoSpace, TargetError


def main() -> int:
    try:
        answer = perform(Asked.model_validate_json(sys.argv[1]), hardens=False)
    except NoSpace as error:
        answer = Answer(error="NoSpace", says=str(error))
    except TargetError as error:
        answer = Answer(error="TargetError", says=str(error))
    except (ValidationError, IndexError, OSError) as error:
        answer = Answer(error="TargetError", says=f"{type(error).__name__}: {error}")
    print(answer.model_dump_json(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
