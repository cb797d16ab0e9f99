from .config import CONFIGS, ModelConfig
from .setok import SeTok

__all__ = ["CONFIGS", "ModelConfig", "SeTok"]
