"""
A made-up signal, for whoever wants to see one go through.
"""

EXAMPLE = {
    "signal_id": "OMEN-EXAMPLE0001",
    "title": "Red Sea transit disruption",
    "probability": 0.62,
    "confidence_score": 0.85,
    "confidence_level": "HIGH",
    "category": "GEOPOLITICAL",
}
