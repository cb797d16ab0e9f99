"""Training of the photo model: EfficientNet-Lite2, neck, semantic tokens, SmolLM2 with adapters.

License: Apache-2.0.
"""
