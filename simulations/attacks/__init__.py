"""What attackers among simulated clients do, for studies of robustness: one attack a file."""

from hansa.simulations.attacks.alie import Alie
from hansa.simulations.attacks.attack import Attack, Forging, Moment, Poisoning, Triggered
from hansa.simulations.attacks.backdoor import Backdoor
from hansa.simulations.attacks.inner_product import InnerProduct
from hansa.simulations.attacks.label_flip import LabelFlip
from hansa.simulations.attacks.min_max import MinMax
from hansa.simulations.attacks.noise import Noise
from hansa.simulations.attacks.replacement import Replacement
from hansa.simulations.attacks.sign_flip import SignFlip
from hansa.simulations.attacks.trigger import Feature, Patch, Trigger

__all__ = [
    "Alie",
    "Attack",
    "Backdoor",
    "Feature",
    "Forging",
    "InnerProduct",
    "LabelFlip",
    "MinMax",
    "Moment",
    "Noise",
    "Patch",
    "Poisoning",
    "Replacement",
    "SignFlip",
    "Trigger",
    "Triggered",
]
