"""What tricks are made of: `Trick`, `Schedule`, `FeatureDropout`, `Teacher`, averages."""
