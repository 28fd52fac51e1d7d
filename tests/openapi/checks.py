"""The one check of the fuzzer: no answer is a server's fault.

Kubernetes answers a few malformed requests with 500 and a Status without a reason, and clients see that; we answer the same. Those
messages, each recorded from a real API server (`tests/transcripts`) or known of it, are no fault here. Every other 5xx is.
"""
import json

import schemathesis

RECORDED = (
    "resourceVersion should not be set on objects to be created",
    "strconv.ParseUint: parsing",
    "resourceVersion: Invalid value",
    "failed to create typed patch object",
    "failed to create typed live object",
    "failed to create manager for existing fields",
    "unable to find api field in struct",
    "unrecognized type: ",
    "delete from setElementOrder",
    "The order in patch list",
)
# Its Binding gives validation errors back as they are (`errs.ToAggregate()`), so they become a 500 too.
KNOWN = ("target.name: Required value", "target.kind: Unsupported value")


@schemathesis.check
def no_server_fault(ctx, response, case):
    if response.status_code < 500:
        return
    try:
        status = json.loads(response.content)
    except ValueError:
        raise AssertionError(f"{response.status_code} without a Status: {response.content[:200]!r}")
    text = status.get("message", "")
    if response.status_code == 500 and "reason" not in status and text.startswith(RECORDED + KNOWN):
        return
    raise AssertionError(f"{response.status_code} {status.get('reason')}: {text[:300]}")
