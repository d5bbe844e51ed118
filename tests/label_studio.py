"""Exports of Label Studio, in the shape that version 1.23 writes (JSON)."""

_TIME = "2026-11-26T21:24:56.161733Z"


def region(label, start, end, *, identity="abc"):
    """A region that somebody drew on the audio."""
    value = {"start": start, "end": end, "channel": 0, "labels": [label]}
    return {
        "id": identity,
        "from_name": "label",
        "to_name": "audio",
        "type": "labels",
        "original_length": 10.0,
        "origin": "manual",
        "value": value,
    }


def choice(answer):
    """The answer to a question about the whole audio."""
    return {
        "id": "q",
        "from_name": "answer",
        "to_name": "audio",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": [answer]},
    }


def annotation(*results, by=1, skipped=False):
    """What one annotator submitted, or skipped."""
    return {
        "id": 1,
        "completed_by": by,
        "result": list(results),
        "was_cancelled": skipped,
        "ground_truth": False,
        "created_at": _TIME,
        "updated_at": _TIME,
        "draft_created_at": None,
        "lead_time": 3.2,
        "prediction": {},
        "result_count": len(results),
        "unique_id": "c9210e8a-d1f6-4dee-ae3c-dc2506614eb1",
        "task": 1,
        "project": 1,
    }


def task(number, data, *annotations):
    """A task with what was submitted for it."""
    return {
        "id": number,
        "annotations": list(annotations),
        "drafts": [],
        "predictions": [number],
        "data": data,
        "meta": {},
        "created_at": _TIME,
        "updated_at": _TIME,
        "inner_id": number,
        "total_annotations": len(annotations),
        "cancelled_annotations": 0,
        "total_predictions": 1,
        "project": 1,
        "updated_by": 1,
    }
