"""What a run can be told: the schema, the recipes, and the layers that become one configuration."""

from safediffusion.config.load import (
    diff,
    dotted_keys,
    dump,
    flatten,
    list_presets,
    list_recipes,
    load_config,
    load_run_config,
    recipe_path,
    result_diff,
    validate,
)
from safediffusion.config.schema import (
    WORLD_TASKS,
    EvaluateConfig,
    RewardConfig,
    RolloutConfig,
    RunConfig,
    TrainConfig,
)

__all__ = [
    "WORLD_TASKS",
    "EvaluateConfig",
    "RewardConfig",
    "RolloutConfig",
    "RunConfig",
    "TrainConfig",
    "diff",
    "dotted_keys",
    "dump",
    "flatten",
    "list_presets",
    "list_recipes",
    "load_config",
    "load_run_config",
    "recipe_path",
    "result_diff",
    "validate",
]
