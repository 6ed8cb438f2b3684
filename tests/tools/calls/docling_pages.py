import sys

from docling.datamodel.base_models import InputFormat
from docling.datamodel.pipeline_options import VlmPipelineOptions
from docling.datamodel.pipeline_options_vlm_model import ApiVlmOptions, ResponseFormat
from docling.document_converter import DocumentConverter, PdfFormatOption
from docling.models.utils.generation_utils import GenerationStopper
from docling.pipeline.vlm_pipeline import VlmPipeline

url, document = sys.argv[1:]


class Never(GenerationStopper):
    """With a stopper docling reads answers as streams."""

    def should_stop(self, s: str) -> bool:
        return False


for stoppers in ([], [Never()]):
    options = VlmPipelineOptions(enable_remote_services=True)
    options.vlm_options = ApiVlmOptions(
        url=f"{url}/v1/chat/completions",
        params={"model": "test/echo", "max_tokens": 8000, "skip_special_tokens": False},
        prompt="first\u2028 second\u0085 third",
        timeout=300,
        response_format=ResponseFormat.MARKDOWN,
        custom_stopping_criteria=stoppers,
    )
    pdf = PdfFormatOption(pipeline_cls=VlmPipeline, pipeline_options=options)
    converter = DocumentConverter(format_options={InputFormat.PDF: pdf})
    print(converter.convert(document).document.export_to_markdown())
