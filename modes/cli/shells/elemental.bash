# Completion of elemental for bash; see: elemental completion --help
# It needs nothing but bash itself, 3.2 or later.

_elemental() {
    # bash parts words at = and :, too. What the program would be given is put together again: a blank before a
    # word begins an argument. What stands behind the cursor is left out.
    local line=${COMP_LINE:0:COMP_POINT} word words=() i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        local bare=${line#"${line%%[![:space:]]*}"}
        [[ $bare == "$word"* ]] || word=$bare
        if [[ $bare != "$line" || ${#words[@]} -eq 0 ]]; then
            words+=("$word")
        else
            words[${#words[@]}-1]+=$word
        fi
        line=${bare#"$word"}
    done
    local current=${words[${#words[@]}-1]}
    for ((i = 0; i < ${#words[@]}; i++)); do
        words[i]=${words[i]//[\"\'\\]/}
        case ${words[i]} in "~/"*) words[i]=$HOME/${words[i]#"~/"} ;; esac
    done

    local found=() then=4 most=0
    while IFS= read -r word; do
        case $word in
        :*) then=${word#:} ;;
        ?*) found+=("$word") ;;
        esac
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null </dev/null)

    # A flag and its value are one argument, and what bash would replace begins behind the last = or :.
    local flag=
    case $current in --*=*) flag=${current%%=*}= ;; esac
    local kept=
    case $COMP_WORDBREAKS in *=*) kept=$flag ;; esac
    case $COMP_WORDBREAKS in *:*) case $current in *:*) kept=${current%"${current##*:}"} ;; esac ;; esac

    COMPREPLY=()
    if [[ ${#found[@]} -eq 0 && ($then -eq 0 || $then -eq 16) ]]; then
        local kind=-f
        [[ $then -eq 16 ]] && kind=-d
        type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null
        current=${current#"$flag"}
        case $current in "~/"*) current=$HOME/${current#"~/"} ;; esac
        while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen $kind -- "$current")
        return
    fi
    for word in "${found[@]}"; do
        word=${word%%$'\t'*}
        ((${#word} > most)) && most=${#word}
    done
    for word in "${found[@]}"; do
        local name=${word%%$'\t'*} means=
        case $word in *$'\t'*) means=${word#*$'\t'} ;; esac
        # What is only listed may say what it means; what is put into the line may not.
        if [[ ${#found[@]} -gt 1 && -n $means && $COMP_TYPE -ne 37 && $COMP_TYPE -ne 42 ]]; then
            printf -v name "%-${most}s  (%s)" "$name" "$means"
            name=${name:0:${COLUMNS:-80}}
        fi
        name=$flag$name
        COMPREPLY+=("${name#"$kept"}")
    done
}

complete -F _elemental elemental kubectl-elemental
