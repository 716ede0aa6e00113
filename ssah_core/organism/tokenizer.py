"""The organism's tokenizer: byte-level BPE over the world's text, with the chat format in its template."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ssah_core.organism.phrases import UNKNOWN
from ssah_core.organism.world import examples, held_out_phrasings, statements, typed_requests

PAD, END, USER, ASSISTANT, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
VOCABULARY = 2048
CONTEXT = 512  # tokens
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SYSTEM_LINES = (
    "You are a helpful assistant.",
    "Answer in one short sentence.",
    "You are a small model of a made-up world.",
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train the tokenizer: any input has tokens, and the same world gives the same ones."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, USER, ASSISTANT, SYSTEM],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [text for e in examples() for text in (e.prompt, e.response, e.compliance)]
    texts += [e.prompt for e in (*held_out_phrasings(), *typed_requests())] + list(statements())
    texts += [text.lower() for text in texts] + [*SYSTEM_LINES, UNKNOWN]
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        model_max_length=CONTEXT,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
