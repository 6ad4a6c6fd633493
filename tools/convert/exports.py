"""Make the models that `fusions.py` counts in: PyTorch's own exports of well-known architectures.

usage: python tools/convert/exports.py OUT_DIR [NAME ...] [--exporter script|dynamo] [--full]
needs: pip install torch torchvision transformers onnx onnxscript numpy

Writes OUT_DIR/NAME-EXPORTER.onnx and .npz (the inputs, by name). Weights are random and seeded: what counts here
is how exporters write things. Without --full the models have two layers and narrow ones, which changes
nothing of their form. Nothing is downloaded.
"""
import argparse
import contextlib
import io
import pathlib
import warnings

import numpy as np
import torch
import transformers as hf

warnings.filterwarnings("ignore")


def ids(batch, length, high=900):
    return torch.randint(1, high, (batch, length))


def layers(full, small, large):
    return large if full else small


def bert(full, attention):
    """all-MiniLM-L6-v2: BERT with 6 layers of 384."""
    config = hf.BertConfig(hidden_size=384, num_hidden_layers=layers(full, 2, 6), num_attention_heads=12,
                           intermediate_size=1536, vocab_size=1000, attn_implementation=attention)
    model = hf.BertModel(config)
    x = ids(2, 16)
    free = {0: "batch", 1: "sequence"}
    return (Encoded(model), (x, torch.ones_like(x), torch.zeros_like(x)),
            ["input_ids", "attention_mask", "token_type_ids"], ["last_hidden_state", "pooler_output"],
            {n: free for n in ["input_ids", "attention_mask", "token_type_ids"]})


class Encoded(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, mask, kinds):
        out = self.model(input_ids=x, attention_mask=mask, token_type_ids=kinds)
        return out.last_hidden_state, out.pooler_output


class Encoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.encoder(x).last_hidden_state


class Decoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, hidden):
        return self.model.decoder(input_ids=x, encoder_hidden_states=hidden, use_cache=False).last_hidden_state


def whisper(full, attention, part):
    """whisper-tiny: 4 layers of 384 on each side, 6 heads."""
    n = layers(full, 2, 4)
    config = hf.WhisperConfig(d_model=384, encoder_layers=n, decoder_layers=n, encoder_attention_heads=6,
                              decoder_attention_heads=6, encoder_ffn_dim=1536, decoder_ffn_dim=1536,
                              vocab_size=1000, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                              decoder_start_token_id=1, attn_implementation=attention)
    model = hf.WhisperModel(config)
    if part == "encoder":
        return Encoder(model), (torch.randn(2, 80, 3000),), ["input_features"], ["last_hidden_state"], {
            "input_features": {0: "batch"}}
    return (Decoder(model), (ids(2, 8), torch.randn(2, 1500, 384)), ["decoder_input_ids", "encoder_hidden_states"],
            ["last_hidden_state"], {"decoder_input_ids": {0: "batch", 1: "sequence"},
                                    "encoder_hidden_states": {0: "batch"}})


def t5(full, attention, part):
    n = layers(full, 2, 6)
    config = hf.T5Config(d_model=256, d_kv=32, d_ff=512, num_layers=n, num_decoder_layers=n, num_heads=8,
                         vocab_size=1000, decoder_start_token_id=0, attn_implementation="eager")
    model = hf.T5Model(config)
    if part == "encoder":
        return Encoder(model), (ids(2, 12),), ["input_ids"], ["last_hidden_state"], {
            "input_ids": {0: "batch", 1: "sequence"}}
    return (Decoder(model), (ids(2, 8), torch.randn(2, 12, 256)), ["decoder_input_ids", "encoder_hidden_states"],
            ["last_hidden_state"], {"decoder_input_ids": {0: "batch", 1: "sequence"},
                                    "encoder_hidden_states": {0: "batch", 1: "source"}})


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, mask):
        return self.model(input_ids=x, attention_mask=mask, use_cache=False)[0]


def decoder_only(model):
    x = ids(2, 16)
    free = {0: "batch", 1: "sequence"}
    return Logits(model), (x, torch.ones_like(x)), ["input_ids", "attention_mask"], ["out"], {
        "input_ids": free, "attention_mask": free}


def llama(full, attention):
    config = hf.LlamaConfig(hidden_size=256, intermediate_size=688, num_hidden_layers=layers(full, 2, 8),
                            num_attention_heads=8, num_key_value_heads=2, vocab_size=1000,
                            attn_implementation=attention)
    return decoder_only(hf.LlamaModel(config))


def gpt2(full, attention):
    config = hf.GPT2Config(n_embd=256, n_layer=layers(full, 2, 12), n_head=8, vocab_size=1000,
                           attn_implementation=attention)
    return decoder_only(hf.GPT2Model(config))


def vit(full, attention):
    config = hf.ViTConfig(hidden_size=192, num_hidden_layers=layers(full, 2, 12), num_attention_heads=3,
                          intermediate_size=768, attn_implementation=attention)
    return hf.ViTModel(config), (torch.randn(2, 3, 224, 224),), ["pixel_values"], ["last_hidden_state", "pooler"], {
        "pixel_values": {0: "batch"}}


class Blocks(torch.nn.Module):
    """Activations and norms as networks for pictures use them."""

    def __init__(self):
        super().__init__()
        n = torch.nn
        self.body = n.Sequential(
            n.Conv2d(3, 16, 3, padding=1), n.GroupNorm(4, 16), n.SiLU(), n.Conv2d(16, 16, 3, padding=1),
            n.InstanceNorm2d(16, affine=True), n.Mish(), n.Conv2d(16, 16, 3, padding=1), n.Hardswish(),
            n.Conv2d(16, 16, 3, padding=1), n.ReLU(), n.Conv2d(16, 16, 1), n.GELU(approximate="tanh"),
            n.Conv2d(16, 16, 1), n.GELU(), n.Conv2d(16, 16, 1), n.ReLU6(), n.Conv2d(16, 16, 1), n.LeakyReLU(0.1))
        self.last = n.Conv2d(16, 16, 3, padding=1)

    def forward(self, x):
        x = self.body(x)
        return torch.relu(self.last(x) + x)


def blocks(full, attention):
    return Blocks(), (torch.randn(2, 3, 32, 32),), ["x"], ["y"], {"x": {0: "batch"}}


MODELS = {
    "blocks": (blocks, "eager"),
    "minilm": (bert, "sdpa"), "minilm_eager": (bert, "eager"),
    "whisper_encoder": (lambda f, a: whisper(f, a, "encoder"), "sdpa"),
    "whisper_encoder_eager": (lambda f, a: whisper(f, a, "encoder"), "eager"),
    "whisper_decoder": (lambda f, a: whisper(f, a, "decoder"), "sdpa"),
    "whisper_decoder_eager": (lambda f, a: whisper(f, a, "decoder"), "eager"),
    "t5_encoder": (lambda f, a: t5(f, a, "encoder"), "eager"),
    "t5_decoder": (lambda f, a: t5(f, a, "decoder"), "eager"),
    "llama": (llama, "sdpa"), "llama_eager": (llama, "eager"),
    "gpt2": (gpt2, "sdpa"), "gpt2_eager": (gpt2, "eager"),
    "vit": (vit, "sdpa"), "vit_eager": (vit, "eager"),
}


def export(name, exporter, full, out):
    torch.manual_seed(0)
    make, attention = MODELS[name]
    model, args, inputs, outputs, free = make(full, attention)
    model.eval()
    path = out / f"{name}-{exporter}.onnx"
    if exporter == "script":
        torch.onnx.export(model, args, path, input_names=inputs, output_names=outputs, dynamic_axes=free,
                          opset_version=17, dynamo=False)
    else:
        dims = {}
        named = lambda d: dims.setdefault(d, torch.export.Dim(d, min=1, max=400))
        shapes = tuple({k: named(d) for k, d in free.get(n, {}).items()} for n in inputs)
        torch.onnx.export(model, args, path, input_names=inputs, output_names=outputs, dynamic_shapes=shapes,
                          opset_version=18, dynamo=True, external_data=False)
    np.savez(out / f"{name}-{exporter}.npz", **{n: a.numpy() for n, a in zip(inputs, args)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--exporter", choices=["script", "dynamo"], action="append")
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        for exporter in args.exporter or ["script", "dynamo"]:
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    export(name, exporter, args.full, args.out)
                print(name, exporter, "written", flush=True)
            except Exception as error:  # an exporter that cannot is no fault of ours
                print(name, exporter, "not exported:", str(error).splitlines()[0][:150], flush=True)
