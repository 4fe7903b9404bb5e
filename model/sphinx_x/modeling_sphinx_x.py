"""SPHINX-X: two frozen encoders, a fusion, and transformers' own Llama or Mixtral over pictures and text.

A sample is [BOS][view tokens, or one skip token, for each view of each picture][text]; attention is causal throughout, so the last
picture token predicts the first text token. Training runs packs (`forward_packed`), everyone else `forward`, `generate`, `chat`.

Shapes: T positions of a pack, V real views, P tokens per view without tags, S supervised tokens, D language width.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoProcessor, BitsAndBytesConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .attention import NAME as PACKED_ATTENTION
from .chat import stream_chat
from .configuration_sphinx_x import SphinxXConfig
from .encoders import Fusion, encode_views, make_convnext, make_dinov2
from .generation import Answer, Sampling, answer_prompts, stream_answer
from .loss import supervised_losses
from .quantised import keep_what_suffers
from .views import SKIP_ID, VIEW_ID


class Pack(Protocol):
    """Whole samples in one row; `model/data/materialise.py` makes it."""

    input_ids: Tensor  # [T], anything at the positions of pictures
    labels: Tensor  # [T], -100 where not supervised; same position as the token
    position_ids: Tensor  # [T], from 0 in each sample
    cu_seqlens: Tensor  # [samples + 1] int32
    view_starts: Tensor  # [V], position of the start tag of each real view
    skip_positions: Tensor  # [K]
    conv_views: Tensor | None  # [V, 3, conv_px, conv_px] uint8
    vit_views: Tensor | None  # [V, 3, vit_px, vit_px] uint8
    features: Tensor | None  # [V, P, C], instead of the views
    max_seqlen: int


class PackedLoss(NamedTuple):
    loss_sum: Tensor
    """Sum over supervised tokens, float32."""
    token_losses: Tensor
    """[S], in the order of the pack, detached."""
    balance_loss: Tensor | None
    """Load-balance loss of this pack's experts, a mean; None without experts."""


class SphinxXForConditionalGeneration(PreTrainedModel):
    config_class = SphinxXConfig
    base_model_prefix = "sphinx_x"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    # An encoder's blocks hold weights of their own beside their parts, so each encoder stays on one device.
    _no_split_modules = ["LlamaDecoderLayer", "MixtralDecoderLayer", "ConvNeXt", "VisionTransformer", "Fusion"]

    def __init__(self, config: SphinxXConfig):
        super().__init__(config)
        self.conv = make_convnext(config.conv_name, config.conv_arguments).eval().requires_grad_(False)
        self.vit = make_dinov2(config.vit_name, config.vit_px, config.vit_arguments).eval().requires_grad_(False)
        self.fusion = Fusion(config.conv_channels + config.vit_channels, config.text_config.hidden_size)
        self.language = AutoModelForCausalLM.from_config(config.text_config, attn_implementation=PACKED_ATTENTION)
        self.post_init()

    @classmethod
    def from_pretrained(cls, path: Any, *arguments: Any, **options: Any) -> Any:
        """As transformers' own; a plain `quantization_config` of bitsandbytes leaves the encoders, the fusion and the head alone."""
        if isinstance(quantisation := options.get("quantization_config"), BitsAndBytesConfig):
            config = options.get("config") or SphinxXConfig.from_pretrained(path)
            options["quantization_config"] = keep_what_suffers(quantisation, config.text_config)
        return super().from_pretrained(path, *arguments, **options)

    def _init_weights(self, module: nn.Module) -> None:
        # timm and transformers initialise their own parts when they are built; only a fusion that no file brought is left.
        if isinstance(module, Fusion):
            module.reset_parameters()
        elif type(module).__module__.startswith("transformers."):
            super()._init_weights(module)

    def train(self, mode: bool = True) -> "SphinxXForConditionalGeneration":
        super().train(mode)
        self.conv.eval()
        self.vit.eval()
        return self

    def get_input_embeddings(self) -> nn.Module:
        return self.language.get_input_embeddings()

    def encode_views(self, conv_views: Tensor, vit_views: Tensor) -> Tensor:
        """Frozen features [V, P, C] of uint8 views."""
        return encode_views(self.conv, self.vit, conv_views, vit_views)

    def forward_packed(self, pack: Pack) -> PackedLoss:
        """Losses of one pack; runs the same graph whatever the pack holds."""
        outputs = self.pack_outputs(pack)
        kept = (pack.labels[1:] != -100).nonzero().squeeze(1)
        hidden = outputs.last_hidden_state[0][kept]
        losses = supervised_losses(hidden, self.language.lm_head.weight, pack.labels[kept + 1])
        balance = self._balance_loss(outputs.router_logits) if self._has_experts else None
        return PackedLoss(losses.sum(), losses.detach(), balance)

    def pack_outputs(self, pack: Pack) -> Any:
        """What the language model makes of a pack: `last_hidden_state` [1, T, D], with experts `router_logits` of each layer."""
        embeds = self._pack_embeddings(pack)
        return self.language.model(
            inputs_embeds=embeds[None],
            position_ids=pack.position_ids[None],
            attention_mask=embeds.new_zeros(1, 1, 1, 1),  # four dimensions: transformers builds no mask of its own
            cu_seq_lens_q=pack.cu_seqlens,
            max_length_q=pack.max_seqlen,
            use_cache=False,
            **({"output_router_logits": True} if self._has_experts else {}),
        )

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        conv_views: Tensor | None = None,
        vit_views: Tensor | None = None,
        labels: Tensor | None = None,
        pack: Pack | None = None,
        **kwargs: Any,
    ) -> Any:
        """Logits of whole prompts (as `SphinxXProcessor` makes them), or `forward_packed` of a pack (engines call `forward`).

        Args:
            input_ids: [B, T]; positions of views and skip tokens hold `VIEW_ID` and `SKIP_ID` of `views.py`.
            attention_mask: [B, T], 0 at padding.
            conv_views, vit_views: uint8 views of all rows, in order.
            labels: [B, T]; adds the mean loss.
        """
        if pack is not None:
            return self.forward_packed(pack)
        assert input_ids is not None
        features = None if conv_views is None or vit_views is None else self.encode_views(conv_views, vit_views)
        positions = None
        if attention_mask is not None:
            positions = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        hidden = self.language.model(
            inputs_embeds=self.prompt_embeddings(input_ids, features),
            attention_mask=attention_mask,
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        logits = self.language.lm_head(hidden)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutput(loss=loss, logits=logits)

    def prompt_embeddings(self, input_ids: Tensor, features: Tensor | None) -> Tensor:
        """Embeddings of ids of any shape [...] to [..., D]; views fill the placeholder positions in order."""
        words = self.get_input_embeddings()(input_ids.clamp(min=0))
        views = (input_ids == VIEW_ID)[..., None]
        per_view, given = self.config.tokens_per_view, 0 if features is None else len(features)
        if int(views.sum()) != given * per_view:
            raise ValueError(f"the prompt has places for {int(views.sum()) / per_view:g} views and {given} came with it.")
        if features is not None and given:
            words = words.masked_scatter(views, self.fusion(features).flatten(0, 1).to(words.dtype))
        skipped = (input_ids == SKIP_ID)[..., None]
        return torch.where(skipped, self.fusion.skip.to(words.dtype), words)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        conv_views: Tensor | None = None,
        vit_views: Tensor | None = None,
        max_new_tokens: int = 128,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop_ids: list[int] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Answers of a batch of left-padded prompts, as `SphinxXProcessor` makes them.

        Returns:
            [B, new tokens], right-padded with EOS; without the prompt and without the end mark.
        """
        features = None if conv_views is None or vit_views is None else self.encode_views(conv_views, vit_views)
        embeds = self.prompt_embeddings(input_ids, features)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        prompts = [row[kept.bool()] for row, kept in zip(embeds, mask, strict=True)]
        sampling = Sampling(temperature, top_p) if do_sample else None
        stops = [list(stop_ids)] if stop_ids else [list(getattr(self.config, "stop_ids", None) or [])]
        answers = answer_prompts(self, [(prompt[:-1], prompt[-1:]) for prompt in prompts], max_new_tokens, stops, sampling)
        width = max(len(answer.ids) for answer in answers)
        eos = self.config.text_config.eos_token_id
        return torch.tensor([answer.ids + [eos] * (width - len(answer.ids)) for answer in answers], device=input_ids.device)

    @torch.no_grad()
    def stream(self, prompt: Tensor, features: Tensor | None, max_new_tokens: int, stop_ids: list[int]) -> Iterator[int]:
        """Token ids of one answer, as they are made; prompt [T]."""
        embeds = self.prompt_embeddings(prompt, features)
        yield from stream_answer(self, embeds, max_new_tokens, [stop_ids])

    def chat(
        self,
        images: Any,
        question: str,
        history: Sequence[tuple[str, str]] = (),
        processor: Any = None,
        max_new_tokens: int = 256,
    ) -> str:
        """The answer to a question about a picture (or a list of them, or None), after earlier turns about the same.

        Args:
            processor: the model's processor; loaded from the model's own directory if it is not given.
        """
        if processor is None:
            if getattr(self, "_own_processor", None) is None:
                self._own_processor = AutoProcessor.from_pretrained(self.config._name_or_path, trust_remote_code=True)
            processor = self._own_processor
        pictures = [] if images is None else list(images) if isinstance(images, list | tuple) else [images]
        return "".join(stream_chat(self, processor, question, pictures, history, max_new_tokens)).strip()

    def _pack_embeddings(self, pack: Pack) -> Tensor:
        embeds = self.get_input_embeddings()(pack.input_ids.clamp(min=0))
        features = pack.features
        if features is None and pack.conv_views is not None and len(pack.conv_views):
            assert pack.vit_views is not None
            features = self.encode_views(pack.conv_views, pack.vit_views)
        if features is None or len(features) == 0:
            # Touch the fusion with weight 0: a rank without pictures must run the same collectives as the others.
            blank = embeds.new_zeros(1, 1, self.fusion.project.in_features)  # touching the weight here would gather it alone
            embeds = embeds + (self.fusion(blank).sum() * 0).to(embeds.dtype)
        else:
            tokens = self.fusion(features).to(embeds.dtype)
            offsets = torch.arange(tokens.shape[1], device=embeds.device)
            places = (pack.view_starts[:, None] + offsets).flatten()
            embeds = embeds.index_copy(0, places, tokens.flatten(0, 1))
        skips = self.fusion.skip.to(embeds.dtype).expand(len(pack.skip_positions), -1)
        return embeds.index_copy(0, pack.skip_positions, skips)

    @property
    def _has_experts(self) -> bool:
        return getattr(self.config.text_config, "num_local_experts", 1) > 1

    def _balance_loss(self, router_logits: tuple[Tensor, ...]) -> Tensor:
        """experts / active x sum of (share of tokens routed to an expert x its mean probability), averaged over layers."""
        text = self.config.text_config
        per_layer = []
        for logits in router_logits:
            probabilities = logits.float().softmax(-1)
            chosen = probabilities.topk(text.num_experts_per_tok, dim=-1).indices
            routed = torch.zeros_like(probabilities).scatter(-1, chosen, 1.0).mean(0)
            per_layer.append((routed * probabilities.mean(0)).sum())
        return torch.stack(per_layer).mean() * text.num_local_experts / text.num_experts_per_tok


__all__ = ["Answer", "SphinxXForConditionalGeneration"]
