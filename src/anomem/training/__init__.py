"""How it is learnt: views, pseudo-anomalies, losses, stage 1 and stage 2."""
