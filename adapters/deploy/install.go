package deploy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"elemental/core"
	"elemental/ports"
)

// target is a file system tree in which a system is installed, or was: <at>/elemental and <at>/boot.
type target struct {
	*Engine        // works on the target, and on nothing else
	at      string // the root of the tree
}

// mark says whose an installation is. It is written before anything else: an installation without a boot entry is one
// that was cut short.
type mark struct {
	Host  string    `json:"host,omitempty"` // empty: it was installed by hand
	Key   string    `json:"key,omitempty"`  // the sha256 of the host's key, in hexadecimal; empty: it brought none
	Boot  string    `json:"boot,omitempty"` // the boot ID of the system that installed it
	Image string    `json:"image"`
	Began time.Time `json:"began"`

	// Found is the boot ID of the system that was last asked to install it again, and found it.
	Found string `json:"found,omitempty"`
}

const (
	markFile    = "installation.json"
	programFile = "bin/elemental" // is the first process
)

// skeleton are the folders of a target's own root: what kernels, initial RAM disks and containers ask of one.
var skeleton = []string{"boot/loader/entries", "dev", "etc", "proc", "run", "sys", "tmp", "usr", "elemental/bin"}

// targetAt is the tree below a folder.
func (e *Engine) targetAt(at string) *target {
	engine := *e
	engine.Root, engine.Boot = filepath.Join(at, "elemental"), filepath.Join(at, "boot")
	// What runs now was not booted from the target.
	engine.Loader = SystemdBoot{Boot: engine.Boot, BootedFile: os.DevNull, CommandLine: os.DevNull}
	return &target{Engine: &engine, at: at}
}

// holding is what a target holds.
type holding struct {
	whole bool   // a system that can be booted
	begun bool   // the installation of one that was cut short
	other string // something else, as people name it; empty: nothing
	mark  mark
}

// isOf says that a whole system was installed as the host of a request. A name alone does not tell: another machine may
// be given the name of one that is gone.
func (h holding) isOf(request ports.Request) bool {
	return h.isNamed(request.Host) && h.mark.Key == keyOf(request.Files)
}

// isSeenOf says the same of a host that only observes, and shows no key: it is what an installation in this boot has said.
func (h holding) isSeenOf(request ports.Request) bool {
	if len(request.Files) > 0 {
		return h.isOf(request)
	}
	return h.isNamed(request.Host) && (h.mark.Boot == request.Boot || h.mark.Found == request.Boot)
}

func (h holding) isNamed(host string) bool { return h.whole && host != "" && h.mark.Host == host }

// keyOf is the sha256 of the key among the files of a host, in hexadecimal; empty where there is none.
func keyOf(files []ports.File) string {
	for _, f := range files {
		if strings.HasSuffix(f.Path, "/identity/key") {
			return fmt.Sprintf("%x", sha256.Sum256(f.Data))
		}
	}
	return ""
}

// String says what is there, with an article.
func (h holding) String() string {
	switch {
	case h.whole && h.mark.Host != "":
		return fmt.Sprintf("the system of host %s (%s)", h.mark.Host, h.mark.Image)
	case h.whole:
		return "an installed system"
	default:
		return h.other
	}
}

// look says what the target holds. It changes nothing.
func (t *target) look(ctx context.Context) (holding, error) {
	var h holding
	info, err := os.Stat(t.at)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no folder")
	}
	if err != nil {
		return h, badInstallOption("install.root", "%s can't be installed to: %v; prepare a file system and mount it there", t.at, err)
	}
	content, err := os.ReadFile(t.path(markFile))
	switch {
	case err == nil && json.Unmarshal(content, &h.mark) == nil:
		h.begun = true
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return h, fmt.Errorf("looking for an installation in %s: %w", t.at, err)
	}
	entries, err := t.Loader.Entries(ctx)
	if err != nil {
		return h, err
	}
	if h.whole = len(entries) > 0; h.whole || h.begun {
		return h, nil
	}
	h.other, err = t.others()
	return h, err
}

// others names what is in a target that nobody began to install.
func (t *target) others() (string, error) {
	var names []string
	for folder, nothing := range map[string][]string{
		t.at: {"lost+found", "boot", "efi", "elemental"}, t.Root: {"lock"},
	} {
		found, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("looking for what is in %s: %w", t.at, err)
		}
		for _, entry := range found {
			if !slices.Contains(nothing, entry.Name()) {
				names = append(names, entry.Name())
			}
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	slices.Sort(names)
	return "files already (" + strings.Join(names[:min(3, len(names))], ", ") + ")", nil
}

// ReasonHoldsData is the reason of not installing over what is there.
const ReasonHoldsData = "HoldsData"

// install lays a system down. What makes it bootable comes last, so that a second run finds a whole system, or goes on.
func (t *target) install(ctx context.Context, request ports.Request, overwrite bool, tell func(ports.Progress)) error {
	files, err := t.belongings(request)
	if err != nil {
		return err
	}
	if _, err := t.look(ctx); err != nil { // Nothing is made, not even the lock, where there is no folder.
		return err
	}
	unlock, err := t.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	held, err := t.look(ctx)
	switch {
	case err != nil:
		return err
	case held.isOf(request):
		return t.find(held.mark, request.Boot)
	case (held.whole || held.other != "") && !overwrite:
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonHoldsData,
			Message: fmt.Sprintf("%s holds %s, which would be lost: install elsewhere, or set install.overwrite to true (by hand: --overwrite)", t.at, held),
		}
	}
	s, err := t.prepare(ctx, request, files, tell)
	if err != nil {
		return err
	}
	if held.whole || held.other != "" {
		if err := t.checkRoom(s.image); err != nil {
			return err
		}
		if err := t.clear(ctx); err != nil {
			return err
		}
	}
	return t.lay(ctx, s)
}

// prepare finds out what an installation needs to know, and changes nothing: what can't be installed costs no system that
// is there.
func (t *target) prepare(ctx context.Context, request ports.Request, files []ports.File, tell func(ports.Progress)) (*staging, error) {
	want, err := readWish(request.OSVersion)
	if err != nil {
		return nil, err
	}
	engine := *t.Engine
	if engine.Options, err = t.kernelOptions(); err != nil {
		return nil, err
	}
	engine.Loader = lastStep{BootLoader: t.Loader, before: func(deployment string) error {
		return t.giveBelongings(deployment, files)
	}}
	s := &staging{engine: &engine, want: *want, request: request, progress: &progress{tell: tell, now: t.Now}}
	return s, s.resolve(ctx)
}

func (t *target) lay(ctx context.Context, s *staging) error {
	if err := t.writeMark(mark{Host: s.request.Host, Key: keyOf(s.request.Files), Boot: s.request.Boot, Image: s.want.ImageURI, Began: t.Now().UTC()}); err != nil {
		return err
	}
	for _, folder := range skeleton {
		if err := os.MkdirAll(filepath.Join(t.at, folder), 0o755); err != nil {
			return fmt.Errorf("preparing %s: %w", t.at, err)
		}
	}
	if err := t.layProgram(); err != nil {
		return err
	}
	return s.run(ctx)
}

// find notes that a system is the host's that runs in a boot, for what observes later in it.
func (t *target) find(m mark, boot string) error {
	if m.Boot == boot || m.Found == boot {
		return nil
	}
	m.Found = boot
	return t.writeMark(m)
}

func (t *target) writeMark(m mark) error {
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(t.path(markFile), append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("preparing %s: %w", t.at, err)
	}
	return nil
}

// layProgram makes this very program the first process of the target.
func (t *target) layProgram() error {
	from, err := os.Open(cmp.Or(t.Program, "/proc/self/exe"))
	if err != nil {
		return fmt.Errorf("installing the first process: %w", err)
	}
	defer from.Close()
	to := t.path(programFile)
	temporary := to + ".tmp"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("installing the first process: %w", err)
	}
	_, err = io.Copy(file, from)
	if err == nil {
		err = file.Chmod(0o755) // Whatever mask the plugin has.
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(temporary, to)
	}
	if err != nil {
		return fmt.Errorf("installing the first process: %w", err)
	}
	return syncFolder(filepath.Dir(to))
}

// lastStep does what must be done before a deployment can be booted.
type lastStep struct {
	ports.BootLoader
	before func(deployment string) error
}

// Add is the step that makes the target bootable.
func (l lastStep) Add(ctx context.Context, entry ports.BootEntry) error {
	if err := l.before(entry.Deployment); err != nil {
		return err
	}
	return l.BootLoader.Add(ctx, entry)
}

// InstallTo installs a system where the request's options say. It may be killed at any moment and asked for again; a
// system that is there as a whole, and is this host's, stays as it is.
func (e *Engine) InstallTo(ctx context.Context, request ports.Request, tell func(ports.Progress)) error {
	options, err := readInstallOptions(request.Options)
	if err != nil {
		return err
	}
	request, err = options.wanted(request)
	if err != nil {
		return err
	}
	return e.targetAt(options.Root).install(ctx, request, options.Overwrite, tell)
}

// observeTarget says how an installation stands, of a host that was not started from a deployment. What is wrong with the
// options is told by installing.
func (e *Engine) observeTarget(ctx context.Context, request ports.Request) (ports.Observation, error) {
	seen := ports.Observation{View: core.View{Restarts: true, Verdict: core.VerdictSatisfied}}
	if request.Hash != "" {
		seen.Verdict = core.VerdictOutdated
	}
	options, err := readInstallOptions(request.Options)
	if err != nil {
		return seen, nil
	}
	held, err := e.targetAt(options.Root).look(ctx)
	var f core.Failure
	switch {
	case errors.As(err, &f):
		return seen, nil
	case err != nil:
		return seen, err
	case !held.isSeenOf(request):
		return seen, nil
	}
	seen.Detail = fmt.Sprintf("%s holds this host's system (%s), since %s", options.Root, held.mark.Image, held.mark.Began.UTC().Format(time.RFC3339))
	// Only the boot that installed it is ended for it: whoever starts the medium once more is told, and not restarted for ever.
	if held.mark.Boot != "" && held.mark.Boot == request.Boot {
		seen.NeedsRestart = true
		return seen, nil
	}
	seen.Installed = true
	seen.Detail += "; it is not installed again: start this host from it"
	return seen, nil
}
