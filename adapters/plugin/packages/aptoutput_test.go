package packages

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// TestAptFailures holds what apt and dpkg say, as they were heard to say it, against what a person is told.
func TestAptFailures(t *testing.T) {
	for _, c := range []struct {
		name, said, status string
		refreshed          bool
		class              core.FailureClass
		reason, words      string
	}{
		{
			name: "lock", said: "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 8 (apt-get)\nE: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?",
			class: core.FailureRetryable, reason: reasonLocked, words: "process 8 (apt-get)",
		},
		{
			name: "lock of dpkg", said: "dpkg: error: dpkg frontend lock was locked by another process with pid 77",
			class: core.FailureRetryable, reason: reasonLocked, words: "pid 77",
		},
		{
			name: "down", said: "E: Failed to fetch http://r/./InRelease  Could not connect to r:80 (1.2.3.4). - connect (111: Connection refused)\nE: Some index files failed to download. They have been ignored, or old ones used instead.",
			class: core.FailureRetryable, reason: reasonRepository, words: "Connection refused",
		},
		{
			name: "down, said by an older apt", said: "W: Failed to fetch http://r/./InRelease  Temporary failure resolving 'r'\nW: Some index files failed to download. They have been ignored, or old ones used instead.",
			class: core.FailureRetryable, reason: reasonRepository, words: "resolving 'r'",
		},
		{
			name: "gone stale", said: "E: Failed to fetch http://r/./a.deb  404  Not Found [IP: 1.2.3.4 80]\nE: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?",
			class: core.FailureRetryable, reason: reasonRepository, words: "set packages.refresh",
		},
		{
			name: "half renewed", refreshed: true, said: "E: Failed to fetch http://r/./Packages  Hash Sum mismatch",
			class: core.FailureRetryable, reason: reasonRepository, words: "Hash Sum mismatch",
		},
		{
			name: "not signed", said: "E: The repository 'http://r ./ InRelease' is not signed.",
			class: core.FailureFailed, reason: reasonUntrusted, words: "the key",
		},
		{
			name: "full", said: "E: You don't have enough free space in /var/cache/apt/archives/.",
			class: core.FailureFailed, reason: reasonDiskFull, words: "make room",
		},
		{
			name: "virtual", said: "Package mail-transport-agent is a virtual package provided by:\n  postfix 3.7\nE: Package 'mail-transport-agent' has no installation candidate",
			class: core.FailureFailed, reason: reasonNoPackage, words: "mail-transport-agent",
		},
		{
			name: "conflict", said: "The following packages have unmet dependencies:\n needy : Depends: nothing but it is not installable\nE: Unable to correct problems, you have held broken packages.",
			class: core.FailureFailed, reason: reasonConflict, words: "needy : Depends: nothing",
		},
		{
			name: "script", said: "Setting up other (1.0) ...\nall is well\nSetting up sick:amd64 (1.0) ...\nlooking\nno moon\ndpkg: error processing package sick:amd64 (--configure):\n installed sick:amd64 package post-installation script subprocess returned error exit status 7\nErrors were encountered while processing:\n sick:amd64\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
			status: "pmstatus:sick:80.0:Configuring sick (amd64)\npmerror:sick:amd64:86.6:installed sick:amd64 package post-installation script subprocess returned error exit status 7",
			class:  core.FailureFailed, reason: reasonScript, words: `exit status 7; its last words: "looking; no moon"`,
		},
		{
			name: "overwrite", said: "Preparing to unpack .../a_1_all.deb ...\nUnpacking a (1) ...\ndpkg: error processing archive /var/cache/apt/archives/a_1_all.deb (--unpack):",
			status: "pmerror:/var/cache/apt/archives/a_1_all.deb : 40.0:trying to overwrite '/usr/bin/x', which is also in package b 1",
			class:  core.FailureFailed, reason: reasonScript, words: "trying to overwrite '/usr/bin/x'",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			o := &aptOutput{step: stepInstalling, report: silent}
			for line := range strings.Lines(c.said) {
				o.line(strings.TrimSpace(line))
			}
			for line := range strings.Lines(c.status) {
				o.status(strings.TrimSuffix(line, "\n"))
			}
			err := o.failure(errors.New("exit status 100"), c.refreshed)
			t.Log(err)
			var failure core.Failure
			is.True(errors.As(err, &failure))
			is.Equal(failure.Class, c.class)
			is.Equal(failure.Reason, c.reason)
			is.True(strings.Contains(failure.Message, c.words))
		})
	}
}

func TestAptProgress(t *testing.T) {
	is := is.New(t)
	var told []ports.Progress
	o := &aptOutput{step: stepInstalling, report: func(p ports.Progress) { told = append(told, p) }}
	for _, line := range []string{
		"dlstatus:1:0.0000:Retrieving file 1 of 2", "dlstatus:1:0.0000:Retrieving file 1 of 2", "dlstatus:2:50.5:Retrieving file 2 of 2",
		"pmstatus:dpkg-exec:0.0000:Running dpkg", "pmstatus:libc6:amd64:42.8:Unpacking libc6:amd64 (amd64)", "nonsense", "a:b:c:d", "a:b:c:d:e",
	} {
		o.status(line)
	}
	is.Equal(told, []ports.Progress{
		{Step: stepDownloading, Percent: 0, Message: "Retrieving file 1 of 2"}, {Step: stepDownloading, Percent: 50, Message: "Retrieving file 2 of 2"},
		{Step: stepInstalling, Percent: 0, Message: "Running dpkg"}, {Step: stepInstalling, Percent: 42, Message: "Unpacking libc6:amd64 (amd64)"},
	})
}

func TestInventory(t *testing.T) {
	is := is.New(t)
	text := "libc6\tamd64\tii \t2.36\tlibc-x\nlibc6\ti386\tii \t2.36\t\nmawk\tamd64\tii \t1.3\tawk, old (= 2)\ngone\tall\trc \t1\t\n" +
		"half\tall\tiHR\t1\t\nconf\tall\tiF \t1\t\ntrig\tall\tit \t1\t\nkept\tall\thi \t5\t\n"
	have, err := readInventory(text, []string{"libc6", "libc6:i386", "awk", "old", "gone", "half", "conf:all", "kept", "none"})
	is.NoErr(err)
	is.Equal(have.Installed, map[string][]string{"libc6": {"2.36"}, "libc6:i386": {"2.36"}, "awk": {"1.3"}, "old": {"1.3"}, "kept": {"5"}})
	is.Equal(have.Partial, []string{"half", "conf:all"})
	is.Equal(have.Broken, []string{"half is only half unpacked", "conf is only half configured: its script failed", "trig is waiting for the triggers of others"})
	_, err = readInventory("what is this\n", nil)
	is.True(err != nil)
}

func TestPolicy(t *testing.T) {
	is := is.New(t)
	text := "nginx:\n  Installed: 1.22.1-9\n  Candidate: 1.24.0-1\n  Version table:\n     1.24.0-1 500\n        500 http://r/debian bookworm/main amd64 Packages\n" +
		" *** 1.22.1-9 100\n        100 /var/lib/dpkg/status\nawk:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n"
	is.Equal(readPolicy([]byte(text)), map[string][]string{"nginx": {"1.24.0-1", "1.22.1-9"}, "awk": nil})
}

func TestTransaction(t *testing.T) {
	is := is.New(t)
	common := "-o APT::Get::Upgrade-Allow-New=true --fix-broken --allow-downgrades --allow-change-held-packages "
	p := plan{Install: []string{"a"}, Versions: map[string]string{"c": "2", "b": "1"}, Remove: []string{"d"}, Upgrade: []string{"e"}}
	is.Equal(strings.Join(transaction(p), " "), common+"install -- a e b=1 c=2 d-")
	is.Equal(strings.Join(transaction(plan{UpgradeAll: true}), " "), common+"upgrade --")
	is.Equal(len(transaction(plan{Hold: map[string]string{"a": "1"}})), 0)
}

func TestOutdatedPrograms(t *testing.T) {
	is := is.New(t)
	proc := t.TempDir()
	for pid, files := range map[string][3]string{
		"1": {"7f-8f r-xp 00000000 08:01 12 /usr/lib/libssl.so.3 (deleted)\n", "0::/system.slice/nginx.service\n", "nginx"},
		"2": {"7f-8f r-xp 00000000 08:01 12 /usr/lib/libssl.so.3\n", "0::/system.slice/good.service\n", "good"},
		"3": {"7f-8f r--p 00000000 08:01 12 /usr/share/x (deleted)\n7f-8f rwxp 00:00 0 /memfd:jit (deleted)\n", "0::/system.slice/jit.service\n", "jit"},
		"4": {"7f-8f r-xp 00000000 08:01 12 /opt/acme/tool (deleted)\n", "0::/user.slice/user-0.slice/session-1.scope\n", "tool"},
	} {
		folder := filepath.Join(proc, pid)
		is.NoErr(os.Mkdir(folder, 0o755))
		for i, name := range []string{"maps", "cgroup", "comm"} {
			is.NoErr(os.WriteFile(filepath.Join(folder, name), []byte(files[i]), 0o600))
		}
	}
	is.Equal(outdatedPrograms(t.Context(), proc), "these still run files that were replaced, until they are restarted: nginx.service, tool")
	is.Equal(outdatedPrograms(t.Context(), t.TempDir()), "")
}
