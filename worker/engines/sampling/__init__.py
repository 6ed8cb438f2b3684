"""From logits to text: processors, grammar masks, logprobs, the detokenizer."""
