"""What workflows see of the activities: names, arguments, results and their contract. No SQL behind these imports.

Every effect here is idempotent by (saga id, step): calling again returns the stored result, refusals included. A
refusal is a result. An exception is a failure: Temporal retries, except for `integrity_violation`, which no retry can
mend.

If a worker crashes during an activity, its transaction has happened as a whole or not at all.
"""

from __future__ import annotations

# Re-exports everything, so that there is no list to keep up to date.
from activities.interfaces.choreography import *
from activities.interfaces.orders import *
from activities.interfaces.read_model import *
from activities.interfaces.relay import *
from activities.interfaces.transfer_batches import *
from activities.interfaces.transfers import *
from domain.orders import StockShare as StockShare
