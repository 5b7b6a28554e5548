# SPDX-License-Identifier: Apache-2.0
# Completion of certbroker(1) in bash. What could come next is known by the program itself: its commands and
# options, and the ids and names that the running daemon lets the user see. Where it knows nothing, a file's
# name is completed.

_certbroker()
{
    local line=${COMP_LINE:0:COMP_POINT} words candidate
    # Not COMP_WORDS: bash takes --bus unix:path=/x apart at its colons and signs of equality.
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("$candidate")
    done < <("${words[0]}" --complete "${words[@]:1}" 2> /dev/null < /dev/null)
}

complete -o bashdefault -o default -F _certbroker certbroker
