"""Offline testing of recommenders (docs/offline.md)."""

from .policy import Check, Estimate, Judgement, Measured, Policy, Verdict, policy_schema

__all__ = ["Check", "Estimate", "Judgement", "Measured", "Policy", "Verdict", "policy_schema"]
