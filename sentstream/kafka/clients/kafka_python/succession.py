"""Taking the place of a group's member that has died.

A static member (KIP-345) that starts anew gets what its predecessor had, without a rebalance. With
cooperative assignment (KIP-429) that may be too little: a member that is to give partitions away gets its
smaller share first, and joins again when it has given them, so that another gets them. If it dies between
the two, its successor knows of no second rebalance: those partitions had no owner until the next one.
"""

from __future__ import annotations

from collections.abc import Collection

from kafka import KafkaAdminClient
from kafka import errors as kafka
from kafka.admin import MemberToRemove

from sentstream.kafka.clients.kafka_python.errors import root


def clear_place(admin: KafkaAdminClient, group: str, instance: str, topics: Collection[str]) -> None:
    """Remove our predecessor from the group, unless its place can be taken as it is.

    It can if the group is at rest and each partition has an owner. Else removing it starts a rebalance,
    which is what is missing, or is under way already.

    Args:
        admin: kafka-python's.
        group: The consumer group.
        instance: Our group.instance.id, with which we have not joined yet.
        topics: What the group reads.

    Raises:
        kafka.errors.KafkaError: The brokers cannot be asked, or refuse.
    """
    found = admin.describe_groups([group])[group]
    if found["error"] and isinstance(error := root(kafka.KafkaError(found["error"])), kafka.RetriableError):
        raise error
    members = found["members"]  # none in a group that is not there, or that we may not see: joining tells
    if all(member.get("group_instance_id") != instance for member in members):
        return
    if found["group_state"] == "Stable":
        owned = {
            (topic["topic"], number)
            for member in members
            if member["member_assignment"]
            for topic in member["member_assignment"]["assigned_partitions"]
            for number in topic["partitions"]
        }
        there = {
            (topic["name"], partition["partition_index"])
            for topic in admin.describe_topics(list(topics))
            for partition in topic["partitions"]
        }
        if there <= owned:
            return
    remove(admin, group, instance)


def remove(admin: KafkaAdminClient, group: str, instance: str) -> None:
    """Remove a static member from its group; that there is none is no error.

    Raises:
        kafka.errors.KafkaError: The brokers cannot be asked, or refuse.
    """
    place = MemberToRemove(group_instance_id=instance)
    for error in admin.remove_group_members(group, [place]).values():
        if error not in (kafka.NoError, kafka.UnknownMemberIdError):
            raise error()
