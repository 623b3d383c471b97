"""What every schema of a recipe is built on."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Unknown keys are errors everywhere in a recipe."""

    model_config = ConfigDict(extra="forbid")
