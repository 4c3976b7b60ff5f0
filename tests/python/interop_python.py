"""The Python application of the interoperability demo, as far as the Rust one meets it. Told what to do as witness.py."""

import witness
from dbos import DBOS, DBOSConfiguredInstance


@DBOS.dbos_class("interop")
class Interop(DBOSConfiguredInstance):
    def __init__(self):
        super().__init__("default")

    @DBOS.workflow(name="echoWorkflow", serialization_type=witness.PORTABLE)
    def echo(self, text, num, items, *, val_float, val_date):
        message = DBOS.recv("date-msg", timeout_seconds=30)
        return {
            "echo_text": text,
            "echo_num": num,
            "echo_float": val_float,
            "items_count": len(items),
            "echo_date": val_date,
            "msg_date": message[:10],
        }


Interop()


@DBOS.workflow(name="interopDriver")
def driver(target, positional, named):
    options = {
        "workflow_name": "echoWorkflow",
        "class_name": "interop",
        "instance_name": "default",
        "queue_name": f"interop-queue-{target}",
        "application_name": f"interop-{target}",
        "app_version": f"interop-{target}-v1",
    }
    child = DBOS.enqueue_workflow_with_options(witness.enqueue_options(options), *positional, **named)
    DBOS.send(child.workflow_id, "2025-03-15T00:00:00Z", topic="date-msg", serialization_type=witness.PORTABLE)
    return {"result": child.get_result(), "parentId": DBOS.workflow_id, "childId": child.workflow_id}


witness.interopDriver = driver

if __name__ == "__main__":
    witness.main()
