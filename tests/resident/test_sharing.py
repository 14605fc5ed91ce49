"""Whether kept engines fit beside each other."""

from prime_core.resident.sharing import EngineNeeds, why_engines_do_not_fit

# 0.5 B parameters: vLLM at 0.8 of 24 GB; policy and PRM with 16 bytes a parameter.
SAMPLER = EngineNeeds("sample", computing=19.2e9, resting=0)
POLICY = EngineNeeds("policy", computing=14e9, resting=8e9)
PRM = EngineNeeds("prm", computing=12e9, resting=8e9)


def test_engines_fit_where_each_has_room_in_its_turn_beside_the_others_contexts():
    assert why_engines_do_not_fit([SAMPLER, POLICY, PRM], 24e9, 32e9) is None


def test_a_gpu_that_one_engine_fills_has_no_room_for_the_others_contexts():
    large = EngineNeeds("sample", computing=0.9 * 24e9, resting=0)
    assert why_engines_do_not_fit([large], 24e9, 32e9) is None
    assert why_engines_do_not_fit([large, POLICY, PRM], 24e9, 32e9) == (
        "sample takes 21.6 GB of a GPU of 24 GB in its turn, and the processes of 3 kept engines "
        "3.6 GB all the time"
    )


def test_trainers_that_rest_have_to_fit_into_the_nodes_memory():
    assert why_engines_do_not_fit([SAMPLER, POLICY, PRM], 24e9, 12e9) == (
        "between their turns the engines keep 16 GB for each GPU in the node's memory, of which "
        "12 GB are free"
    )
