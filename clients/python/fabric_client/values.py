"""What the API answers, as types. Made from api/openapi.yaml; a test compares.

Values are plain dictionaries. A field that is absent is not null.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Metrics(TypedDict):
    accuracy_bp: NotRequired[int]
    correct: int
    evaluated: int
    examples: int
    loss_micros: int


class Compression(TypedDict):
    """How updates of train rounds get smaller on their way, and less exact; they travel whole if absent. What does not add up under masks is refused with secure aggregation."""

    bits: NotRequired[Literal[8, 10, 16]]
    codec: NotRequired[Literal["fp16", "bf16", "int8", "topk", "randk"]]
    share_bp: NotRequired[int]


class MeasuredFeature(TypedDict):
    bins: int
    column: str
    high: float
    importance: NotRequired[float]
    low: float


class MeasuredGroup(TypedDict):
    name: str
    value: float


class Measurement(TypedDict):
    """What the evaluation that closes the run counts for the scorecard, beside right and wrong; sites send counts only, never rows."""

    critical: NotRequired[list[Literal["performance", "calibration", "fairness", "drift", "resilience", "privacy"]]]
    features: NotRequired[list[MeasuredFeature]]
    floor: NotRequired[int]
    group_column: NotRequired[str]
    groups: NotRequired[list[MeasuredGroup]]
    positive: NotRequired[int]
    score_bins: NotRequired[int]


class ModelSpec(TypedDict):
    classes: NotRequired[int]
    hidden: NotRequired[int]
    inputs: NotRequired[int]
    trainer: NotRequired[Literal["logistic", "mlp", "exec"]]


class AdaptiveClip(TypedDict):
    """Moves the clipping norm to a quantile of the norms of the updates, by a noised count of those within it; for unit site. clip_norm is what the first round clips to, 0.1 if absent."""

    count_noise: NotRequired[float]
    quantile: NotRequired[float]
    rate: NotRequired[float]


class Privacy(TypedDict):
    """How much the result may tell of one unit; nothing is noised if absent."""

    adaptive: NotRequired[AdaptiveClip]
    clip_norm: NotRequired[float]
    delta: NotRequired[float]
    max_epsilon: NotRequired[float]
    mechanism: NotRequired[Literal["gaussian", "discrete_gaussian", "skellam"]]
    noise_multiplier: NotRequired[float]
    unit: NotRequired[Literal["site", "example"]]


class Secure(TypedDict):
    """How the sites' vectors are hidden."""

    corrupt_bp: NotRequired[int]
    dropped_bp: NotRequired[int]
    max_examples: NotRequired[int]
    mode: NotRequired[Literal["auto", "on", "off"]]
    range: NotRequired[float]
    ring: NotRequired[Literal[32, 64]]
    stage_seconds: NotRequired[int]


class Strategy(TypedDict):
    """How the server combines updates; what a strategy or rule does not use is refused."""

    beta1: NotRequired[float]
    beta2: NotRequired[float]
    bucket_sites: NotRequired[int]
    buffer: NotRequired[int]
    byzantine: NotRequired[int]
    keep: NotRequired[int]
    max_norm: NotRequired[float]
    max_staleness: NotRequired[int]
    momentum: NotRequired[float]
    name: NotRequired[Literal["fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold", "fedbuff"]]
    proximal_mu: NotRequired[float]
    rule: NotRequired[Literal["mean", "median", "trimmed_mean", "krum", "multi_krum", "bulyan", "geometric_median", "norm_bound"]]
    server_rate: NotRequired[float]
    tau: NotRequired[float]
    trim: NotRequired[float]


class RunParams(TypedDict):
    batch_size: NotRequired[int]
    bounds: NotRequired[list[list[float]]]
    compression: NotRequired[Compression]
    deadline_seconds: NotRequired[int]
    extensions: NotRequired[int]
    features: NotRequired[list[str]]
    learning_rate: NotRequired[float]
    local_epochs: NotRequired[int]
    measurement: NotRequired[Measurement]
    meets: NotRequired[list[str]]
    model: NotRequired[ModelSpec]
    over_bp: NotRequired[int]
    patience: NotRequired[int]
    privacy: NotRequired[Privacy]
    production: NotRequired[bool]
    purpose: NotRequired[str]
    quorum: NotRequired[int]
    quorum_regions: NotRequired[int]
    rounds: NotRequired[int]
    sample_bp: NotRequired[int]
    secure: NotRequired[Secure]
    seed: NotRequired[int]
    strategy: NotRequired[Strategy]
    target_bp: NotRequired[int]


class RoundRegion(TypedDict):
    accepted: int
    cause: NotRequired[str]
    dropped: NotRequired[list[str]]
    region: str
    rejected: int
    selected: int


class Round(TypedDict):
    cause: NotRequired[str]
    clip: NotRequired[float]
    ended_at: NotRequired[str]
    kind: Literal["statistics", "train", "evaluate"]
    manifest: NotRequired[str]
    metrics: Metrics
    number: int
    provenance: NotRequired[str]
    regions: list[RoundRegion]
    started_at: str
    statement: NotRequired[str]
    status: Literal["open", "closed", "failed"]
    weights: NotRequired[str]


class Run(TypedDict):
    cause: NotRequired[str]
    created_at: str
    ended_at: NotRequired[str]
    id: str
    metrics: Metrics
    model_id: str
    params: RunParams
    paused: NotRequired[bool]
    rounds: NotRequired[list[Round]]
    rounds_done: NotRequired[int]
    simulated: NotRequired[bool]
    status: Literal["accepted", "running", "completed", "stopped", "failed"]
    study: NotRequired[str]
    tenant: str
    tenants: list[str]
    trace_id: str
    version: NotRequired[int]
    weights: NotRequired[str]
    workflow_id: str


class RunAccepted(TypedDict):
    id: str
    simulated: NotRequired[bool]
    status_url: str
    trace_id: str
    workflow_id: str


class Descriptor(TypedDict):
    digest: str
    media_type: str
    size_bytes: int


class ModelVersion(TypedDict):
    blocked: NotRequired[bool]
    bundle: Descriptor
    files_bundle: NotRequired[Descriptor]
    metrics: Metrics
    model_id: str
    package: Descriptor
    registered_at: str
    repository: str
    round: NotRequired[int]
    run: NotRequired[str]
    signature: NotRequired[Descriptor]
    simulated: NotRequired[bool]
    tainted: NotRequired[list[str]]
    tenant: str
    version: int
    weights: Descriptor


class Model(TypedDict):
    champions: dict[str, int]
    created_at: str
    id: str
    latest: int
    simulated: NotRequired[bool]
    tenant: str
    versions: NotRequired[list[ModelVersion]]


class Invocation(TypedDict):
    audit: NotRequired[dict[str, Any]]
    decision: dict[str, Any]
    endpoint: NotRequired[str]
    model_id: str
    output: dict[str, Any]
    region: NotRequired[str]
    simulated: NotRequired[bool]
    tenant: str
    version: NotRequired[int]


class Consent(TypedDict):
    granted: bool
    grantees: list[str]
    purposes: list[Literal["train", "evaluate", "stats"]]
    recorded_at: str
    withdrawn_at: NotRequired[str]


class Feature(TypedDict):
    compatibility: NotRequired[Literal["none", "backward", "forward", "full"]]
    consent: Consent
    content: NotRequired[str]
    description: NotRequired[str]
    feature_id: str
    fingerprint: str
    registered_at: str
    schema: dict[str, Any]
    semantics: NotRequired[dict[str, Any]]
    simulated: NotRequired[bool]
    staged: NotRequired[bool]
    tags: NotRequired[list[str]]
    tenant: str
    version: int
