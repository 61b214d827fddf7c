"""Take the place of a group member that has died.

A restarted static member (KIP-345) gets its predecessor's partitions without a rebalance. With cooperative
assignment (KIP-429) some partitions may then have no owner: a member that must give partitions away first
gets its smaller assignment, and joins again when it has revoked them, so that another member gets them. If
it dies in between, its successor does not know of the second rebalance, and those partitions have no owner
until the next one.
"""

from __future__ import annotations

from collections.abc import Collection

from kafka import KafkaAdminClient
from kafka import errors as kafka
from kafka.admin import MemberToRemove

from sentstream.kafka.clients.kafka_python.errors import root


def remove_predecessor(admin: KafkaAdminClient, group: str, instance: str, topics: Collection[str]) -> None:
    """Remove our predecessor from the group, unless we can take its place directly.

    We can if the group is stable and each partition has an owner. Otherwise a rebalance is missing, which
    the removal starts, or one is already in progress.

    Args:
        admin: kafka-python's admin client.
        group: The consumer group.
        instance: Our group.instance.id, with which we have not joined yet.
        topics: The topics that the group reads.

    Raises:
        kafka.errors.KafkaError: The brokers do not answer, or refuse.
    """
    description = admin.describe_groups([group])[group]
    if description["error"] and isinstance(
        error := root(kafka.KafkaError(description["error"])), kafka.RetriableError
    ):
        raise error
    members = description["members"]  # empty if the group is missing or hidden from us; joining will tell
    if all(member.get("group_instance_id") != instance for member in members):
        return
    if description["group_state"] == "Stable":
        owned = {
            (topic["topic"], number)
            for member in members
            if member["member_assignment"]
            for topic in member["member_assignment"]["assigned_partitions"]
            for number in topic["partitions"]
        }
        existing = {
            (topic["name"], partition["partition_index"])
            for topic in admin.describe_topics(list(topics))
            for partition in topic["partitions"]
        }
        if existing <= owned:
            return
    remove(admin, group, instance)


def remove(admin: KafkaAdminClient, group: str, instance: str) -> None:
    """Remove a static member from its group; it is no error if there is none.

    Raises:
        kafka.errors.KafkaError: The brokers do not answer, or refuse.
    """
    member = MemberToRemove(group_instance_id=instance)
    for error in admin.remove_group_members(group, [member]).values():
        if error not in (kafka.NoError, kafka.UnknownMemberIdError):
            raise error()
