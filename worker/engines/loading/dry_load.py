"""`python -m worker.engines.loading.dry_load`: loads models without their weights, for `sightline doctor`.

Reads a row of the models file as JSON from each line, and answers a line for each: a JSON string with what a
worker would refuse, "" if nothing. A process of its own, because the command line does not import torch.
"""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from shared.models import Model
from worker.engines.registry import create


def refusal(model: Model) -> str:
    folder = Path(model.source)
    try:
        create(model)
        # Imported once nothing is known to be in their way.
        from worker.engines.loading.language import check_prompts
        from worker.engines.loading.pretrained import check_shapes, configs_of
        from worker.engines.prompt.renderer import Renderer

        processor, config, _ = configs_of(model, folder)
        renderer = Renderer(processor, config, sys.maxsize, model.chat_template_kwargs, model.reasoning)
        check_prompts(model, renderer.template)
        # vLLM has networks of its own.
        if model.engine != "vllm":
            check_shapes(model, folder, config)
    except Exception as error:  # The outermost frame of a load.
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
