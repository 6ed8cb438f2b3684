"""From logits to text: processors, grammar masks, logprobs, the detokenizer.

Where do stop strings cut an answer off? `detokenizer.py` (`Transcript`).
Where are penalties and bias applied? `processors.py` (`processors_of`).
What keeps an answer in its format? `grammar_processor.py` (`GrammarProcessor`).
"""
