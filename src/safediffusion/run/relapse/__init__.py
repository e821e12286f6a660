"""Does safety last? Fine-tuning on harmless pictures, and what the model draws on the way.

Concept resurgence: fine-tuning on unrelated pictures can bring back what was unlearned (Suriyakumar et al.,
2024, arXiv 2410.08074).
"""
