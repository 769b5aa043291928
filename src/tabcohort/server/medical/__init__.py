"""A model in medical records: FHIR R4 Bundles, and the services of CDS Hooks.

From a Bundle to the columns of a model by a mapping file, and from a prediction to a `RiskAssessment` or a card.
"""
