package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// inits are where a system has its first process.
var inits = [...]string{"sbin/init", "usr/sbin/init", "usr/lib/systemd/systemd", "lib/systemd/systemd"}

// checkInit refuses an image that can't be booted.
func checkInit(t *tree) error {
	for _, at := range inits {
		if found, err := t.find(at, true); err == nil && found.Kind == KindFile && found.Mode&0o111 != 0 {
			return nil
		}
	}
	return badImage(ReasonNoInit, "the image has no /sbin/init that can be run: it is not an operating system")
}

// ReasonNoFolder is the reason of refusing an image that has something else where a folder must be.
const ReasonNoFolder = "NoFolder"

// checkFolders refuses an image that has something else than a folder where the first process mounts one, such as a
// link: to mount there would be to mount wherever that leads. What is missing is made.
func (e *Engine) checkFolders(t *tree) error {
	for _, at := range []string{"dev", "etc", "proc", "run", "sys", "var", strings.Trim(e.Root, "/")} {
		if found, err := t.find(at, false); err == nil && found.Kind != KindFolder {
			return badImage(ReasonNoFolder, "/%s of the image is a %s; it must be a folder, since the host mounts its own there", at, found.Kind)
		}
	}
	return nil
}

// kernelPair is a kernel and its initrd in an image; both may be missing.
type kernelPair struct {
	kernel, initrd *node
}

// findKernel finds the newest kernel of an image and the initrd that goes with it.
func (e *Engine) findKernel(t *tree) (kernelPair, error) {
	if e.Kernel == KernelNone {
		return kernelPair{}, nil
	}
	version, kernel := "", (*node)(nil)
	consider := func(candidate string, found *node) {
		if found != nil && found.Kind == KindFile && (kernel == nil || newer(candidate, version)) {
			version, kernel = candidate, found
		}
	}
	if modules, err := t.find("usr/lib/modules", true); err == nil {
		for release := range modules.children {
			found, _ := t.find(path.Join("usr/lib/modules", release, "vmlinuz"), true) // Without one there is nothing to consider.
			consider(release, found)
		}
	}
	if boot, err := t.find("boot", true); err == nil {
		for base := range boot.children {
			if release, ok := strings.CutPrefix(base, "vmlinuz-"); ok {
				found, _ := t.find("boot/"+base, true) // A dangling link is not a kernel.
				consider(release, found)
			}
		}
		if found, err := t.find("boot/vmlinuz", true); err == nil && kernel == nil {
			consider("", found)
		}
	}
	if kernel == nil {
		return kernelPair{}, badImage(ReasonNoKernel, "the image has no kernel: neither /usr/lib/modules/*/vmlinuz nor /boot/vmlinuz*")
	}
	for _, at := range []string{
		path.Join("usr/lib/modules", version, "initramfs.img"), path.Join("usr/lib/modules", version, "initrd"),
		"boot/initrd.img-" + version, "boot/initrd-" + version, "boot/initramfs-" + version + ".img", "boot/initrd.img", "boot/initrd",
	} {
		if found, err := t.find(at, true); err == nil && found.Kind == KindFile {
			return kernelPair{kernel, found}, nil
		}
	}
	return kernelPair{kernel: kernel}, nil
}

// hasKernel says whether what a deployment boots is on the boot partition.
func (e *Engine) hasKernel(r Record) bool {
	for _, at := range []string{r.Kernel, r.Initrd} {
		if _, err := os.Stat(filepath.Join(e.Boot, at)); at != "" && err != nil {
			return false
		}
	}
	return r.Kernel != "" || e.Kernel == KernelNone
}

// newer compares versions as people do: runs of digits are numbers.
func newer(a, b string) bool {
	for a != "" && b != "" {
		x, restA := leadingRun(a)
		y, restB := leadingRun(b)
		a, b = restA, restB
		if x == y {
			continue
		}
		if unicode.IsDigit(rune(x[0])) && unicode.IsDigit(rune(y[0])) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if len(x) != len(y) {
				return len(x) > len(y)
			}
			if x == y {
				continue
			}
		}
		return x > y
	}
	return a != ""
}

// leadingRun splits off the digits, or the other characters, that a version begins with.
func leadingRun(s string) (string, string) {
	digits := unicode.IsDigit(rune(s[0]))
	for i, c := range s {
		if unicode.IsDigit(c) != digits {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// copyKernel puts a kernel and its initrd on the boot partition, under their own hash: what is there is never
// overwritten, so that no other deployment loses its own. It returns their paths there.
func (s *staging) copyKernel(pair kernelPair) (kernel, initrd string, err error) {
	if pair.kernel == nil {
		return "", "", nil
	}
	hash := sha256.New()
	files := map[string]*node{"linux": pair.kernel}
	if pair.initrd != nil {
		files["initrd"] = pair.initrd
	}
	for _, base := range []string{"linux", "initrd"} {
		if files[base] == nil {
			continue
		}
		sum, err := s.hashObject(files[base].Object)
		if err != nil {
			return "", "", err
		}
		fmt.Fprintf(hash, "%s %s\n", base, sum)
	}
	folder := path.Join("/elemental", hex.EncodeToString(hash.Sum(nil)))
	at := filepath.Join(s.engine.Boot, folder)
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", "", fmt.Errorf("making the folder of the kernel: %w", err)
	}
	for base, n := range files {
		if err := s.copyBootFile(n.Object, filepath.Join(at, base)); err != nil {
			if isFull(err) {
				return "", "", fmt.Errorf("the boot partition %s is full: %w", s.engine.Boot, err)
			}
			return "", "", fmt.Errorf("copying the kernel: %w", err)
		}
	}
	for _, changed := range []string{at, filepath.Dir(at), s.engine.Boot} {
		if err := syncFolder(changed); err != nil {
			return "", "", err
		}
	}
	kernel = path.Join(folder, "linux")
	if pair.initrd != nil {
		initrd = path.Join(folder, "initrd")
	}
	return kernel, initrd, syncFileSystem(s.engine.Boot)
}

func (s *staging) hashObject(id ObjectID) (string, error) {
	file, err := s.objects.open(id)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return hashAll(file)
}

func hashAll(r io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		return "", fmt.Errorf("hashing: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// copyBootFile copies an object to the boot partition and reads it back. A file that is there already and right
// stays as it is.
func (s *staging) copyBootFile(id ObjectID, to string) error {
	want, err := s.hashObject(id)
	if err != nil {
		return err
	}
	if got, err := hashFile(to); err == nil && got == want {
		return nil
	}
	from, err := s.objects.open(id)
	if err != nil {
		return err
	}
	defer from.Close()
	temporary := to + ".tmp"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	if err == nil {
		err = file.Sync()
	}
	// What is read back should come from the medium: its pages are dropped first, where the kernel does so.
	dropped := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
	if err = errors.Join(err, file.Close(), dropped); err == nil {
		err = os.Rename(temporary, to)
	}
	if err != nil {
		_ = os.Remove(temporary) // Best effort: the error that matters is the one above.
		return err
	}
	if got, err := hashFile(to); err != nil || got != want {
		return errors.Join(fmt.Errorf("reading back %s: its content is not what was written", to), err)
	}
	return nil
}

func hashFile(at string) (string, error) {
	file, err := os.Open(at)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return hashAll(file)
}

// versionOf is what the system calls itself: PRETTY_NAME of its os-release, else what comes next to it.
func (s *staging) versionOf(t *tree) string {
	for _, at := range []string{"etc/os-release", "usr/lib/os-release"} {
		found, err := t.find(at, true)
		if err != nil || found.Kind != KindFile || found.Size > 64<<10 {
			continue
		}
		file, err := s.objects.open(found.Object)
		if err != nil {
			continue
		}
		content, err := io.ReadAll(io.LimitReader(file, 64<<10))
		_ = file.Close() // It was only read.
		if err != nil {
			continue
		}
		if version := readOSRelease(string(content)); version != "" {
			return version
		}
	}
	return ""
}

// readOSRelease picks the name of a version from an os-release file.
func readOSRelease(content string) string {
	values := map[string]string{}
	for line := range strings.Lines(content) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	for _, key := range []string{"PRETTY_NAME", "IMAGE_VERSION", "VERSION_ID"} {
		printable := strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return -1
			}
			return r
		}, values[key])
		if printable != "" {
			return printable[:min(len(printable), 200)]
		}
	}
	return ""
}
