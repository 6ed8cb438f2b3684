"""`python -m worker.engines.loading.dry_load`: loads models without their weights, for `sightline doctor`.

Reads a row of the models file as JSON from each line, and answers a line for each: a JSON string with what a
worker would refuse, "" if nothing. A process of its own, because the command line does not import torch.
"""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from shared.models import Model
from worker.engines.loading.pretrained import check_shapes, configs_of


def refusal(model: Model) -> str:
    folder = Path(model.source)
    try:
        if model.engine == "vllm":
            # It has networks of its own.
            configs_of(model, folder)
        else:
            check_shapes(model, folder)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def main() -> None:
    for line in sys.stdin:
        # Whatever the packages print is no answer.
        with redirect_stdout(sys.stderr):
            answer = refusal(Model.model_validate_json(line))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
