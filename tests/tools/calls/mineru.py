import sys

from mineru_vl_utils import MinerUClient
from PIL import Image

url, page = sys.argv[1:]
client = MinerUClient(
    backend="http-client", server_url=url, model_name="test/echo", incremental_priority=True
)
picture = Image.open(page).convert("RGB")
print(client.content_extract(picture))
print(client.batch_content_extract([picture, picture], types="text"))
