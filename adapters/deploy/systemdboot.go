package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"elemental/ports"
)

// SystemdBoot keeps boot entries as files that systemd-boot reads: type 1 of the Boot Loader Specification, with
// the counters of Automatic Boot Assessment in their names. It implements ports.BootLoader.
//
// Entries that are not Elemental's own are neither listed nor touched.
type SystemdBoot struct {
	Boot        string // the top of the boot partition
	BootedFile  string // by default /run/elemental/deployment
	CommandLine string // by default /proc/cmdline
}

var _ ports.BootLoader = SystemdBoot{}

// entryFile is the name of an entry: its deployment, and, of a trial, the boots left and the boots used.
var entryFile = regexp.MustCompile(`^elemental-([0-9a-f]{32})(?:\+([0-9]{1,6})(?:-([0-9]{1,6}))?)?\.conf$`)

// sortKey keeps all entries of Elemental together, ordered by their version.
const sortKey = "elemental"

func (b SystemdBoot) folder() string { return filepath.Join(b.Boot, "loader", "entries") }

// file is an entry, and what it is called.
type file struct {
	name  string
	entry ports.BootEntry
}

// Entries lists the entries in the order in which systemd-boot offers them.
func (b SystemdBoot) Entries(ctx context.Context) ([]ports.BootEntry, error) {
	files, err := b.files(ctx)
	if err != nil {
		return nil, err
	}
	var entries []ports.BootEntry
	seen := map[string]bool{}
	for _, f := range files {
		// A crash between adding an entry and removing the one that it replaces leaves two; the first counts.
		if !seen[f.entry.Deployment] {
			entries = append(entries, f.entry)
		}
		seen[f.entry.Deployment] = true
	}
	return entries, nil
}

// files reads all entries. One that can't be read is left out, as the boot loader does.
func (b SystemdBoot) files(ctx context.Context) ([]file, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found, err := os.ReadDir(b.folder())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the boot entries: %w", err)
	}
	var files []file
	for _, f := range found {
		parts := entryFile.FindStringSubmatch(f.Name())
		if parts == nil {
			continue
		}
		content, err := os.ReadFile(filepath.Join(b.folder(), f.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // It was renamed meanwhile, and is seen under its new name next time.
		}
		if err != nil {
			return nil, fmt.Errorf("reading the boot entry %s: %w", f.Name(), err)
		}
		entry := readEntry(string(content))
		entry.Deployment = parts[1]
		if entry.Trial = parts[2] != ""; entry.Trial {
			entry.Tries, _ = strconv.Atoi(parts[2]) // At most six digits.
			entry.Tried, _ = strconv.Atoi(parts[3]) // None means zero.
		}
		files = append(files, file{f.Name(), entry})
	}
	slices.SortStableFunc(files, func(x, y file) int { return compareEntries(x.entry, y.entry) })
	return files, nil
}

// compareEntries is systemd-boot's own order (boot_entry_compare in its boot.c): without tries left last, then
// the newest version, then the most tries left last, then the fewest used first.
func compareEntries(x, y ports.BootEntry) int {
	spent := func(e ports.BootEntry) int {
		if e.Trial && e.Tries == 0 {
			return 1
		}
		return 0
	}
	if c := cmp.Or(cmp.Compare(spent(x), spent(y)), cmp.Compare(y.Order, x.Order), strings.Compare(y.Deployment, x.Deployment)); c != 0 {
		return c
	}
	if !x.Trial || !y.Trial {
		return 0
	}
	return cmp.Or(cmp.Compare(y.Tries, x.Tries), cmp.Compare(x.Tried, y.Tried))
}

// readEntry reads the fields of an entry.
func readEntry(content string) ports.BootEntry {
	var e ports.BootEntry
	for line := range strings.Lines(content) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		switch key {
		case "title":
			e.Title = value
		case "version":
			e.Order, _ = strconv.ParseUint(value, 10, 64) // One that is no number is the oldest.
		case "linux":
			e.Kernel = value
		case "initrd":
			e.Initrd = value
		case "options":
			e.Options = value
		}
	}
	return e
}

// writeEntry is the text of an entry. Line breaks would be other fields.
func writeEntry(e ports.BootEntry) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "title %s\nversion %020d\nsort-key %s\n", e.Title, e.Order, sortKey)
	for _, field := range []struct{ key, value string }{{"linux", e.Kernel}, {"initrd", e.Initrd}, {"options", e.Options}} {
		if field.value != "" {
			fmt.Fprintf(&text, "%s %s\n", field.key, field.value)
		}
	}
	for _, value := range []string{e.Title, e.Kernel, e.Initrd, e.Options} {
		if strings.ContainsAny(value, "\r\n") {
			return "", fmt.Errorf("writing the boot entry of %s: %q has a line break", e.Deployment, value)
		}
	}
	return text.String(), nil
}

// fileName is the name of an entry's file.
func fileName(e ports.BootEntry) string {
	switch {
	case !e.Trial:
		return fmt.Sprintf("elemental-%s.conf", e.Deployment)
	case e.Tried == 0:
		return fmt.Sprintf("elemental-%s+%d.conf", e.Deployment, e.Tries)
	default:
		return fmt.Sprintf("elemental-%s+%d-%d.conf", e.Deployment, e.Tries, e.Tried)
	}
}

// Add puts an entry in, and then takes the one of the same deployment out that it replaces.
func (b SystemdBoot) Add(ctx context.Context, entry ports.BootEntry) error {
	if !deploymentForm.MatchString(entry.Deployment) {
		return fmt.Errorf("adding a boot entry: %q is not a deployment", entry.Deployment)
	}
	content, err := writeEntry(entry)
	if err != nil {
		return err
	}
	before, err := b.files(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.folder(), 0o755); err != nil {
		return fmt.Errorf("adding a boot entry: %w", err)
	}
	added := fileName(entry)
	if err := writeFile(filepath.Join(b.folder(), added), []byte(content), 0o644); err != nil {
		return fmt.Errorf("adding a boot entry: %w", err)
	}
	if err := syncFileSystem(b.Boot); err != nil {
		return fmt.Errorf("adding a boot entry: %w", err)
	}
	return b.remove(before, func(f file) bool { return f.entry.Deployment == entry.Deployment && f.name != added })
}

// Confirm takes the counter out of an entry's name, as systemd-bless-boot does.
func (b SystemdBoot) Confirm(ctx context.Context, deployment string) error {
	files, err := b.files(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(files, func(f file) bool { return f.entry.Deployment == deployment })
	if at < 0 {
		return fmt.Errorf("confirming deployment %s: its boot entry: %w", deployment, ports.ErrNotFound)
	}
	entry := files[at].entry
	entry.Trial = false
	confirmed := fileName(entry)
	if files[at].name != confirmed {
		if err := os.Rename(filepath.Join(b.folder(), files[at].name), filepath.Join(b.folder(), confirmed)); err != nil {
			return fmt.Errorf("confirming deployment %s: %w", deployment, err)
		}
	}
	if err := errors.Join(syncFolder(b.folder()), syncFileSystem(b.Boot)); err != nil {
		return fmt.Errorf("confirming deployment %s: %w", deployment, err)
	}
	return b.remove(files, func(f file) bool {
		return f.entry.Deployment == deployment && f.name != confirmed && f.name != files[at].name
	})
}

// Remove takes all entries of a deployment out.
func (b SystemdBoot) Remove(ctx context.Context, deployment string) error {
	files, err := b.files(ctx)
	if err != nil {
		return err
	}
	return b.remove(files, func(f file) bool { return f.entry.Deployment == deployment })
}

func (b SystemdBoot) remove(files []file, which func(file) bool) error {
	removed := false
	for _, f := range files {
		if !which(f) {
			continue
		}
		if err := os.Remove(filepath.Join(b.folder(), f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the boot entry %s: %w", f.name, err)
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return errors.Join(syncFolder(b.folder()), syncFileSystem(b.Boot))
}

// Booted reads what the first process wrote down about this boot, else the kernel command line.
func (b SystemdBoot) Booted(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	content, err := os.ReadFile(cmp.Or(b.BootedFile, "/run/elemental/deployment"))
	if id := strings.TrimSpace(string(content)); err == nil && deploymentForm.MatchString(id) {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading which deployment was booted: %w", err)
	}
	content, err = os.ReadFile(cmp.Or(b.CommandLine, "/proc/cmdline"))
	if err != nil {
		return "", fmt.Errorf("reading the kernel command line: %w", err)
	}
	booted := ""
	for word := range strings.FieldsSeq(string(content)) {
		id, ok := strings.CutPrefix(strings.Trim(word, `"`), deploymentOption)
		if ok && deploymentForm.MatchString(id) {
			booted = id
		}
	}
	return booted, nil
}
