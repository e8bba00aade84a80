package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"elemental/core"
)

// Folder is where plugins are looked up by their name.
const Folder = "/usr/lib/elemental/plugins"

// executable is a plugin's file, opened once: what was checked is what is executed, whatever happens to
// its name meanwhile.
type executable struct {
	file *os.File
	path string
	args []string // before the verb
}

// identity tells whether a plugin is still the one that described itself.
type identity struct {
	device, inode  uint64
	modified, size int64
}

// open finds the plugin's file and checks that only those who own the host could have written it.
func (r *Runner) open() (*executable, error) {
	name := r.config.Name
	if name == "" || name == "." || name == ".." {
		return nil, broken("PluginNotFound", "there is no plugin %q: %s", name, r.offers())
	}
	if strings.Contains(name, "/") {
		return openFile(name)
	}
	path := filepath.Join(r.folder(), name)
	switch _, err := os.Lstat(path); {
	case err == nil:
		return openFile(path)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, broken("PluginNotFound", "looking up the plugin %q: %v", name, err)
	}
	for _, builtin := range r.config.Builtins {
		if builtin == name {
			return r.openSelf()
		}
	}
	return nil, broken("PluginNotFound", "there is no plugin %q: %s", name, r.offers())
}

// Where says where the plugin was found; it is empty for one that this program serves itself.
func (r *Runner) Where() (string, error) {
	e, err := r.open()
	if err != nil {
		return "", err
	}
	defer e.file.Close()
	if len(e.args) > 0 {
		return "", nil
	}
	return e.path, nil
}

// openSelf opens the running executable, which stays the same when its file is replaced by an update.
func (r *Runner) openSelf() (*executable, error) {
	self := r.config.Self
	if self == "" {
		self = "/proc/self/exe"
	}
	file, err := os.Open(self)
	if err != nil {
		return nil, broken("PluginNotFound", "opening this program to run the plugin %q: %v", r.config.Name, err)
	}
	return &executable{file: file, path: self, args: []string{"plugin", r.config.Name}}, nil
}

// offers says what could have been named instead.
func (r *Runner) offers() string {
	names := strings.Join(r.config.Builtins, ", ")
	if entries, err := os.ReadDir(r.folder()); err == nil {
		for _, e := range entries {
			names += ", " + e.Name()
		}
	}
	return fmt.Sprintf("set agent.osPlugin to the path of one, to the name of one in %s, or to one of these: %s", r.folder(), strings.TrimPrefix(names, ", "))
}

func (r *Runner) folder() string {
	if r.config.Folder != "" {
		return r.config.Folder
	}
	return Folder
}

func openFile(path string) (*executable, error) {
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, broken("PluginNotFound", "opening the plugin %s: %v", path, err)
	}
	if real, err = filepath.Abs(real); err != nil {
		return nil, broken("PluginNotFound", "opening the plugin %s: %v", path, err)
	}
	if err := checkFolder(filepath.Dir(real)); err != nil {
		return nil, err
	}
	// Opening a named pipe would wait for its writer.
	file, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, broken("PluginNotFound", "opening the plugin %s: %v", path, err)
	}
	if err := checkFile(file, path); err != nil {
		_ = file.Close()
		return nil, err
	}
	return &executable{file: file, path: path}, nil
}

func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return broken("PluginNotFound", "opening the plugin's folder: %v", err)
	}
	return checkOwner(info, folder, "folder of a plugin")
}

func checkFile(file *os.File, path string) error {
	info, err := file.Stat()
	if err != nil {
		return broken("PluginNotFound", "reading the plugin %s: %v", path, err)
	}
	if !info.Mode().IsRegular() {
		return broken("PluginRefused", "refusing to run the plugin %s: it is not a regular file", path)
	}
	if info.Mode().Perm()&0o111 == 0 {
		return broken("PluginRefused", "refusing to run the plugin %s: it is not executable; run chmod 0755 %s", path, path)
	}
	return checkOwner(info, path, "plugin")
}

// checkOwner accepts what root owns, and what the agent's own user owns, and nothing that others may write.
func checkOwner(info fs.FileInfo, path, what string) error {
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner != 0 && int(owner) != os.Geteuid() {
		return broken("PluginRefused", "refusing to run a plugin: the %s %s belongs to user %d; run chown root %s", what, path, owner, path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return broken("PluginRefused", "refusing to run a plugin: the %s %s may be written by others (mode %04o); run chmod go-w %s",
			what, path, info.Mode().Perm(), path)
	}
	return nil
}

func (e *executable) identity() (identity, error) {
	info, err := e.file.Stat()
	if err != nil {
		return identity{}, broken("PluginNotFound", "reading the plugin %s: %v", e.path, err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return identity{uint64(stat.Dev), stat.Ino, info.ModTime().UnixNano(), info.Size()}, nil
}

// broken is the failure of a plugin that does not do what a plugin must.
func broken(reason, format string, args ...any) core.Failure {
	return core.Failure{Class: core.FailureFailed, Reason: reason, Message: fmt.Sprintf(format, args...)}
}
