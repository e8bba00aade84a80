package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// completes asks a completer for what could stand at the end of a line.
func completes(t *testing.T, c *completer, line string) string {
	t.Helper()
	flags, _, _, _ := cluster()
	root := &cli.Command{Name: "elemental", Subcommands: append(commands(flags, nil), general("v1", flags, c)...)}
	var out strings.Builder
	is.New(t).NoErr(c.write(t.Context(), root, strings.Split(line, " "), &out))
	return out.String()
}

func TestCompletion(t *testing.T) {
	known := &portstest.Operator{}
	known.Put(t, ports.Target{Name: "node-a", Standing: core.Standing{Phase: core.PhaseRunning}, OSVersion: ports.OSVersionStatus{Booted: core.Version{Reference: "r", Version: "v1\n"}}}, nil, "")
	known.Put(t, ports.Target{Name: "node-b"}, nil, "")
	known.Put(t, ports.Target{Name: "other", Namespace: "zoo"}, nil, "")
	c := &completer{
		connect: func() (ports.Operator, error) { return known, nil },
		names: func(flag string) []string {
			return map[string][]string{"context": {"arn:aws:b", "prod"}, "namespace": {"field"}}[flag]
		},
	}
	for line, answer := range map[string]string{
		"upg":                                   "upgrade\task hosts or machines for another OS version\n:4\n",
		"__comp":                                ":4\n", // it is hidden
		"upgrade host ":                         "node-a\tRunning, v1\nnode-b\n:4\n",
		"upgrade host node-b ":                  "node-a\tRunning, v1\n:4\n",
		"upgrade host --image i -n default nod": "node-a\tRunning, v1\nnode-b\n:4\n",
		"upgrade machine ":                      ":4\n",
		"retry nod":                             "node-a\tRunning, v1\nnode-b\n:4\n",
		"host describe ":                        "node-a\tRunning, v1\nnode-b\n:4\n",
		"version --output ":                     "json\ntext\n:4\n",
		"version --output=j":                    "json\n:4\n",
		"version -o j":                          "json\n:4\n",
		"version ":                              ":4\n",
		"hosts --context ":                      "arn:aws:b\nprod\n:4\n",
		"hosts --context=p":                     "prod\n:4\n",
		"--context p":                           "prod\n:4\n",
		"hosts -n ":                             "default\nfield\nzoo\n:4\n",
		"hosts --kubeconfig ":                   ":0\n",
		"hosts --cache-dir=":                    ":16\n",
		"hosts --no-such nod":                   "node-a\tRunning, v1\nnode-b\n:4\n",
		"completion ":                           "bash\nfish\nzsh\n:4\n",
		"help upgrade m":                        "machine\task ElementalMachines for an image, or for a whole OS version, and wait for it\n:4\n",
		"upgrade host -- --":                    ":4\n",
	} {
		t.Run(line, func(t *testing.T) { is.New(t).Equal(completes(t, c, line), answer) })
	}
	all := completes(t, c, "hosts --")
	is.New(t).True(strings.Contains(all, "\n--namespace\t"))
	is.New(t).True(!strings.Contains(all, "--token")) // kubectl's other flags would hide ours
	is.New(t).True(strings.Contains(completes(t, c, "hosts --tok"), "--token\t"))
	is.New(t).True(!strings.Contains(completes(t, c, "hosts -n x --"), "--namespace")) // it was given
}

func TestCompletionIsSilentAndQuick(t *testing.T) {
	is := is.New(t)
	broken := &completer{connect: func() (ports.Operator, error) { return nil, ports.ErrNotReady }, names: func(string) []string { return nil }}
	is.Equal(completes(t, broken, "upgrade host "), ":4\n")
	denied := &completer{connect: func() (ports.Operator, error) { return &portstest.Operator{Error: ports.ErrDenied}, nil }, names: broken.names}
	is.Equal(completes(t, denied, "upgrade host "), ":4\n")
	synctest.Test(t, func(t *testing.T) {
		never, end := context.WithCancel(context.Background())
		defer end()
		stuck := &completer{connect: func() (ports.Operator, error) { <-never.Done(); return nil, ports.ErrNotReady }, names: broken.names}
		begun := time.Now()
		is.Equal(completes(t, stuck, "upgrade host "), ":4\n")
		is.Equal(time.Since(begun), completionTime)
	})
}

// stubbed is a folder with a program elemental that says what it was asked, and answers with what the test wants.
func stubbed(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	script := `#!/bin/sh
printf '%s\n' "$@" > "` + folder + `/asked"
for last in "$@"; do :; done
case $last in
*file*) echo :0 ;;
*) printf 'node-a\tRunning, v1\nnode-b\narn:aws:b\tsome\n:4\n' | grep -e "^${last#*=}" -e '^:' ;;
esac
`
	is.New(t).NoErr(os.WriteFile(filepath.Join(folder, "elemental"), []byte(script), 0o755))
	is.New(t).NoErr(os.WriteFile(filepath.Join(folder, "a-file"), nil, 0o600))
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := shells.ReadFile("shells/elemental." + shell)
		is.New(t).NoErr(err)
		is.New(t).NoErr(os.WriteFile(filepath.Join(folder, "script."+shell), text, 0o600))
	}
	return folder
}

// shell runs a script in a real shell.
func shell(t *testing.T, folder, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getuid() == 0 && os.Getenv("CI") != "" {
		t.Fatal(err) // There the whole story must be told.
	}
	if err != nil {
		t.Skip(name + " is not installed")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = folder
	cmd.Env = []string{"PATH=" + folder + ":" + os.Getenv("PATH"), "HOME=" + folder, "TERM=dumb", "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// inShells are lines, what the program is asked for them, and what the shell then offers.
var inShells = []struct{ line, asked, offered string }{
	{"elemental upgrade host no", "__complete upgrade host no", "node-a node-b"},
	{"elemental upgrade host ", "__complete upgrade host ", "arn:aws:b node-a node-b"},
	{"elemental hosts --context=ar", "__complete hosts --context=ar", "arn:aws:b"},
	{"elemental hosts --context=arn:aw", "__complete hosts --context=arn:aw", "arn:aws:b"},
	{"elemental hosts -n 'a b' no", "__complete hosts -n a b no", "node-a node-b"},
	{"elemental hosts -f a-file", "__complete hosts -f a-file", "a-file"},
}

func TestCompletionInBash(t *testing.T) {
	folder := stubbed(t)
	for _, c := range inShells {
		t.Run(c.line, func(t *testing.T) {
			is := is.New(t)
			// bash itself parts the line, as readline would: at blanks, and at = and :.
			var words []string
			for i, part := range strings.Split(c.line, "'") {
				if i%2 == 1 {
					words = append(words, "'"+part+"'")
					continue
				}
				words = append(words, strings.Fields(strings.NewReplacer("=", " = ", ":", " : ").Replace(part))...)
			}
			if strings.HasSuffix(c.line, " ") {
				words = append(words, "")
			}
			quoted := ""
			for _, word := range words {
				quoted += fmt.Sprintf(" %q", word)
			}
			for _, kind := range []int{9, 63} {
				out := shell(t, folder, "bash", "--norc", "-euc", fmt.Sprintf(
					`set +e; . ./script.bash; COMP_LINE=%q COMP_POINT=${#COMP_LINE}; COMP_LINE=%q; COMP_POINT=${#COMP_LINE}; COMP_TYPE=%d; COMP_WORDS=(%s); COMP_CWORD=%d; _elemental; printf '%%s\n' "${COMPREPLY[@]}"`,
					c.line, c.line, kind, quoted, len(words)-1))
				asked, err := os.ReadFile(filepath.Join(folder, "asked"))
				is.NoErr(err)
				is.Equal(strings.ReplaceAll(strings.TrimSuffix(string(asked), "\n"), "\n", " "), c.asked)
				var offered []string
				for line := range strings.Lines(out) {
					name, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
					offered = append(offered, name)
				}
				slices.Sort(offered)
				// What stands before the last = or : in the line is not offered again.
				kept := c.line[strings.LastIndexAny(c.line, " =")+1:]
				kept = kept[:strings.LastIndex(kept, ":")+1]
				is.Equal(strings.Join(offered, " "), strings.TrimPrefix(c.offered, kept))
			}
		})
	}
}

func TestCompletionInFish(t *testing.T) {
	folder := stubbed(t)
	for _, c := range inShells {
		t.Run(c.line, func(t *testing.T) {
			is := is.New(t)
			out := shell(t, folder, "fish", "--no-config", "-c", fmt.Sprintf(`source script.fish; complete -C %q`, c.line))
			var offered []string
			for line := range strings.Lines(out) {
				name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				offered = append(offered, strings.TrimPrefix(name, "--context="))
			}
			slices.Sort(offered)
			is.Equal(strings.Join(offered, " "), c.offered)
		})
	}
}

// TestCompletionInZsh types into a terminal of zsh's own, and looks at what it offers.
func TestCompletionInZsh(t *testing.T) {
	folder := stubbed(t)
	const driver = `
zmodload zsh/zpty
zpty shell zsh -f -i
typing() { zpty -w shell "$1"; }
until_seen() { local text all=; while zpty -r shell text "*$1*"; do all+=$text; [[ $all == *$1* ]] && break; done; print -r -- "$all"; }
typing 'PS1= ; autoload -Uz compinit; compinit -u -D; source ./script.zsh; zstyle ":completion:*" list-grouped false; unsetopt zle_bracketed_paste; LISTMAX=0; COLUMNS=200; compadd() { if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi; local -a found; builtin compadd -A found "$@"; print -r -- "offered:${(j: :)found}:" >> ./offered; builtin compadd "$@"; }; print re""ady'
until_seen ready >/dev/null
zpty -w -n shell "$1"$'\t'
for i in {1..500}; do [[ -s ./asked && -s ./offered && "$(<./offered)" == *$2* ]] && break; sleep 0.02; done
zpty -d shell
cat ./offered
`
	for _, c := range []int{0, 3, 5} { // compinit takes its time
		c := inShells[c]
		t.Run(c.line, func(t *testing.T) {
			is := is.New(t)
			for _, old := range []string{"offered", "asked"} {
				_ = os.Remove(filepath.Join(folder, old)) // It is not there the first time.
			}
			out := shell(t, folder, "zsh", "-f", "-c", driver, "zsh", c.line, c.offered[strings.LastIndex(c.offered, " ")+1:])
			asked, err := os.ReadFile(filepath.Join(folder, "asked"))
			is.NoErr(err)
			is.Equal(strings.ReplaceAll(strings.TrimSuffix(string(asked), "\n"), "\n", " "), c.asked)
			for _, name := range strings.Fields(c.offered) {
				is.True(strings.Contains(out, name))
			}
		})
	}
}
