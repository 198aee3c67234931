"""Whether every backend computes what the reference says: layer by layer, and the gradients of every parameter."""

from cnnspec.verify.result import Check, Verification
from cnnspec.verify.run import verify

__all__ = ["Check", "Verification", "verify"]
