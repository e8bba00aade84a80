package hosts

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An entry is one choice of the boot loader: a file of type 1 of the Boot Loader Specification.
type entry struct {
	file    string // its name
	id      string // the name without counters and suffix
	sortKey string
	version string
	options []string
	left    int // tries left; -1 when its boots are not counted
	used    int // tries used
}

var entryName = regexp.MustCompile(`^(.+?)(?:\+(\d+)(?:-(\d+))?)?\.conf$`)

// readEntry reads an entry file.
func readEntry(path string) (entry, error) {
	name := entryName.FindStringSubmatch(filepath.Base(path))
	if name == nil {
		return entry{}, fmt.Errorf("%s is not named like a boot entry", path)
	}
	e := entry{file: filepath.Base(path), id: name[1], left: -1}
	if name[2] != "" {
		var err error
		if e.left, err = strconv.Atoi(name[2]); err != nil {
			return entry{}, fmt.Errorf("reading the counter of %s: %w", path, err)
		}
		if name[3] != "" {
			if e.used, err = strconv.Atoi(name[3]); err != nil {
				return entry{}, fmt.Errorf("reading the counter of %s: %w", path, err)
			}
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return entry{}, err
	}
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		value = strings.TrimSpace(value)
		switch key {
		case "sort-key":
			e.sortKey = value
		case "version":
			e.version = value
		case "options":
			e.options = append(e.options, strings.Fields(value)...)
		}
	}
	return e, lines.Err()
}

// option is the value of a parameter of the entry's kernel command line; the last counts.
func (e entry) option(name string) string {
	found := ""
	for _, o := range e.options {
		if value, ok := strings.CutPrefix(o, name+"="); ok {
			found = value
		}
	}
	return found
}

// better sorts entries as systemd-boot does: what is out of tries stands last, then the sort key, the
// version from the highest, the name from the highest, and the tries.
func better(a, b entry) int {
	byTries := 0
	if a.left >= 0 && b.left >= 0 {
		byTries = cmp.Or(cmp.Compare(b.left, a.left), cmp.Compare(a.used, b.used))
	}
	byKey := 0
	if a.sortKey != "" && b.sortKey != "" {
		byKey = cmp.Or(cmp.Compare(a.sortKey, b.sortKey), compareVersions(b.version, a.version))
	}
	return cmp.Or(
		compareBool(a.left == 0, b.left == 0),
		compareBool(a.sortKey == "", b.sortKey == ""),
		byKey,
		compareVersions(b.id, a.id),
		byTries,
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

var digits = regexp.MustCompile(`\d+|\D`)

// compareVersions compares numbers within the text as numbers, and everything else letter by letter.
func compareVersions(a, b string) int {
	return slices.CompareFunc(digits.FindAllString(a, -1), digits.FindAllString(b, -1), func(x, y string) int {
		m, errM := strconv.ParseUint(x, 10, 64)
		n, errN := strconv.ParseUint(y, 10, 64)
		if errM == nil && errN == nil {
			return cmp.Compare(m, n)
		}
		return cmp.Compare(x, y)
	})
}

// errNothingToBoot is what a machine's firmware says of an empty disk.
var errNothingToBoot = errors.New("there is no boot entry")

// choose takes the entry that stands first and counts its try.
func choose(folder string) (entry, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.conf"))
	if err != nil {
		return entry{}, err
	}
	var all []entry
	for _, file := range files {
		e, err := readEntry(file)
		if err != nil {
			return entry{}, fmt.Errorf("reading the boot entries: %w", err)
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return entry{}, fmt.Errorf("choosing what to boot in %s: %w", folder, errNothingToBoot)
	}
	first := slices.MinFunc(all, better)
	if first.left <= 0 {
		return first, nil
	}
	counted := first
	counted.left, counted.used = first.left-1, first.used+1
	counted.file = fmt.Sprintf("%s+%d-%d.conf", first.id, counted.left, counted.used)
	if err := os.Rename(filepath.Join(folder, first.file), filepath.Join(folder, counted.file)); err != nil {
		return entry{}, fmt.Errorf("counting a try: %w", err)
	}
	return counted, nil
}
