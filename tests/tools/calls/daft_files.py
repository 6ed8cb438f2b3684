import sys

import daft
from daft.ai.openai.provider import OpenAIProvider
from daft.functions import file, prompt

url, *files = sys.argv[1:]
provider = OpenAIProvider(base_url=f"{url}/v1", api_key="any")
rows = daft.from_pydict({"file": files}).with_column("file", file(daft.col("file")))
for chat in (True, False):
    answer = prompt(
        [daft.col("file"), daft.lit("What color is it?")],
        provider=provider,
        model="sightline/tiny",
        use_chat_completions=chat,
        max_retries=0,
    )
    print(rows.select(answer.alias("answer")).to_pydict()["answer"])
