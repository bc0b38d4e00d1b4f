"""The client: local training, the state that stays with it, and the Flower ClientApp."""

from hansa.fedclient.settings import Local

__all__ = ["Local"]
