# Completion of elemental for fish; see: elemental completion --help

function __elemental_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l then 4
    set -l found
    for line in ($program __complete $words[2..] "$current" 2>/dev/null </dev/null)
        if string match -qr '^:' -- $line
            set then (string sub -s 2 -- $line)
        else
            set -a found $line
        end
    end
    # A flag and its value are one argument.
    set -l flag (string match -r -- '^--[^=]*=' $current)
    if test (count $found) -gt 0
        for line in $found
            printf '%s%s\n' "$flag" $line
        end
    else if test "$then" = 0
        for path in (__fish_complete_path (string replace -- "$flag" '' $current))
            printf '%s%s\n' "$flag" $path
        end
    else if test "$then" = 16
        for path in (__fish_complete_directories (string replace -- "$flag" '' $current))
            printf '%s%s\n' "$flag" $path
        end
    end
end

complete -c elemental -e
complete -c elemental -f -a '(__elemental_complete)'
complete -c kubectl-elemental -e
complete -c kubectl-elemental -f -a '(__elemental_complete)'
