"""Registered versions go to other places too: a folder, a bucket, the Hugging Face Hub, Kaggle."""

from pipeline.delivery.deliver import Delivery, deliver, deliver_all, deliveries_of, require_targets

__all__ = ["Delivery", "deliver", "deliver_all", "deliveries_of", "require_targets"]
