#compdef elemental kubectl-elemental
# Completion of elemental for zsh; see: elemental completion --help

_elemental() {
    local -a asked found names
    local answer line then=4 name
    asked=("${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}")
    answer=$("${(Q)words[1]/#\~\//$HOME/}" __complete "${asked[@]}" 2>/dev/null </dev/null)
    # The value of --flag=value is completed alone.
    [[ $PREFIX == --*=* ]] && compset -P '*='
    for line in "${(@f)answer}"; do
        if [[ $line == :* ]]; then
            then=${line#:}
        elif [[ -n $line ]]; then
            # A colon parts a name from its description here.
            name=${${line%%$'\t'*}//:/\\:}
            if [[ $line == *$'\t'* ]]; then
                found+=("$name:${line#*$'\t'}")
            else
                found+=("$name")
            fi
        fi
    done
    if ((${#found})); then
        _describe -t elemental elemental found
    elif [[ $then == 0 ]]; then
        _files
    elif [[ $then == 16 ]]; then
        _files -/
    fi
}

if [[ ${funcstack[1]} == _elemental ]]; then
    _elemental "$@"
elif (($+functions[compdef])); then
    compdef _elemental elemental kubectl-elemental
else
    print -u2 "elemental: run compinit before this script: autoload -Uz compinit && compinit"
fi
