package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// carryEtc exchanges the /etc of a deployment that is on the disk for one made anew. Either all of it happens, or
// nothing. It returns the files of which both the administrator and the image have a new version.
func (e *Engine) carryEtc(ctx context.Context, from, to string) ([]string, error) {
	staged := e.path("staging", "etc-"+to)
	if err := os.RemoveAll(staged); err != nil {
		return nil, fmt.Errorf("carrying /etc over: %w", err)
	}
	if err := os.MkdirAll(e.path("staging"), 0o755); err != nil {
		return nil, fmt.Errorf("carrying /etc over: %w", err)
	}
	conflicts, err := e.makeEtc(ctx, from, e.deployment(to, "root", "etc"), staged)
	if err != nil {
		return nil, err
	}
	if err := syncFileSystem(e.Root); err != nil {
		return nil, err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, e.deployment(to, "etc"), unix.RENAME_EXCHANGE); err != nil {
		return nil, fmt.Errorf("exchanging the /etc of deployment %s: %w", to, err)
	}
	if err := syncFolder(e.deployment(to)); err != nil {
		return nil, err
	}
	return conflicts, os.RemoveAll(staged)
}

// makeEtc makes an /etc as a new folder: that of an image, with what the administrator changed in a deployment,
// relative to that one's own image. Where both changed, the administrator's is kept, and named in the answer.
// Without a deployment to take from, it is the image's.
func (e *Engine) makeEtc(ctx context.Context, from, image, to string) ([]string, error) {
	if err := copyTree(ctx, image, to); err != nil {
		return nil, fmt.Errorf("copying the image's /etc: %w", err)
	}
	if from == "" {
		return nil, nil
	}
	c, err := openCarrier(ctx, e.deployment(from, "root", "etc"), e.deployment(from, "etc"), image, to)
	if err != nil {
		return nil, fmt.Errorf("carrying /etc over: %w", err)
	}
	defer c.close()
	if err := c.folder("."); err != nil {
		return nil, fmt.Errorf("carrying /etc over: %w", err)
	}
	slices.Sort(c.conflicts)
	return c.conflicts, nil
}

// carrier compares three /etc and changes a fourth.
type carrier struct {
	ctx       context.Context
	base      *os.Root // the old image's
	local     *os.Root // the old deployment's own
	image     *os.Root // the new image's
	target    *os.Root // the new deployment's own, a copy of image
	conflicts []string
}

func openCarrier(ctx context.Context, base, local, image, target string) (*carrier, error) {
	c := &carrier{ctx: ctx}
	for at, root := range map[string]**os.Root{base: &c.base, local: &c.local, image: &c.image, target: &c.target} {
		opened, err := openFolder(at)
		if err != nil {
			c.close()
			return nil, err
		}
		*root = opened
	}
	return c, nil
}

func (c *carrier) close() {
	for _, root := range []*os.Root{c.base, c.local, c.image, c.target} {
		if root != nil {
			_ = root.Close() // It was only looked at, or is synced as a whole.
		}
	}
}

// folder carries over what is in a folder of the old deployment. Where the old image has no such folder, it is as
// if it had an empty one.
func (c *carrier) folder(at string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, root := range []*os.Root{c.base, c.local} {
		is, err := isFolder(root, at)
		if err != nil {
			return err
		}
		if !is {
			continue
		}
		entries, err := listFolder(root, at)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			names[path.Join(at, entry)] = true
		}
	}
	for name := range names {
		if err := c.carry(name); err != nil {
			return err
		}
	}
	return nil
}

// carry carries over one name. A folder of the old deployment that the old image or the new one has too is only
// one in which there may be something to carry over: what others put into it stays.
func (c *carrier) carry(at string) error {
	same, err := sameFile(c.base, c.local, at)
	if err != nil {
		return err
	}
	shared, err := c.isShared(at)
	if err != nil {
		return err
	}
	if !same {
		untouched, err := sameFile(c.base, c.image, at)
		if err != nil {
			return err
		}
		agreed, err := sameFile(c.local, c.image, at)
		if err != nil {
			return err
		}
		if agreed && !shared {
			return nil
		}
		if !untouched && !agreed {
			c.conflicts = append(c.conflicts, path.Join("/etc", at))
		}
		if err := c.replace(at, shared); err != nil {
			return err
		}
	}
	if shared {
		return c.folder(at)
	}
	return nil
}

// isShared says whether a name is a folder of the old deployment and of one of the images.
func (c *carrier) isShared(at string) (bool, error) {
	before, errBefore := isFolder(c.base, at)
	mine, errMine := isFolder(c.local, at)
	theirs, errTheirs := isFolder(c.image, at)
	return mine && (before || theirs), errors.Join(errBefore, errMine, errTheirs)
}

// replace makes the target's file the old deployment's. Of a folder that is shared, only what it is itself.
func (c *carrier) replace(at string, folder bool) error {
	there, err := lookUp(c.target, at)
	mine, errMine := lookUp(c.local, at)
	if errors.Is(errMine, fs.ErrNotExist) {
		if err != nil {
			return nil
		}
		return c.target.RemoveAll(at)
	}
	if errMine != nil {
		return errMine
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := c.makeParents(path.Dir(at)); err != nil {
			return err
		}
	case err != nil:
		return err
	case folder && there.IsDir():
		return copyMetadata(c.local, c.target, at, mine)
	default:
		if err := c.target.RemoveAll(at); err != nil {
			return err
		}
	}
	if folder {
		if err := c.target.Mkdir(at, 0o700); err != nil {
			return err
		}
		return copyMetadata(c.local, c.target, at, mine)
	}
	return copyEntry(c.ctx, c.local, c.target, at)
}

// makeParents makes the folders above a name that the new image does not have, as the old deployment has them.
func (c *carrier) makeParents(at string) error {
	if at == "." {
		return nil
	}
	if there, err := lookUp(c.target, at); err == nil {
		if there.IsDir() {
			return nil
		}
		if err := c.target.RemoveAll(at); err != nil {
			return err
		}
	}
	if err := c.makeParents(path.Dir(at)); err != nil {
		return err
	}
	mine, err := c.local.Lstat(at)
	if err != nil {
		return err
	}
	if err := c.target.Mkdir(at, 0o700); err != nil {
		return err
	}
	return copyMetadata(c.local, c.target, at, mine)
}

func listFolder(root *os.Root, at string) ([]string, error) {
	folder, err := root.Open(at)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return folder.Readdirnames(-1)
}

// lookUp finds what has a name, and nothing that only a link leads to: below a link there is nothing.
func lookUp(root *os.Root, at string) (fs.FileInfo, error) {
	for i, c := range at {
		if c != '/' {
			continue
		}
		above, err := root.Lstat(at[:i])
		if err != nil {
			return nil, err
		}
		if !above.IsDir() {
			return nil, fs.ErrNotExist
		}
	}
	return root.Lstat(at)
}

// isFolder says whether a name is a folder, and not a link to one.
func isFolder(root *os.Root, at string) (bool, error) {
	info, err := lookUp(root, at)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

// sameFile says whether two trees have the same thing under a name, but for its time. Folders are the same
// whatever is in them.
func sameFile(a, b *os.Root, at string) (bool, error) {
	first, errFirst := lookUp(a, at)
	second, errSecond := lookUp(b, at)
	switch {
	case errors.Is(errFirst, fs.ErrNotExist) && errors.Is(errSecond, fs.ErrNotExist):
		return true, nil
	case errors.Is(errFirst, fs.ErrNotExist), errors.Is(errSecond, fs.ErrNotExist):
		return false, nil
	case errFirst != nil || errSecond != nil:
		return false, errors.Join(errFirst, errSecond)
	}
	x, y := first.Sys().(*unixStat), second.Sys().(*unixStat)
	if x.Mode != y.Mode || x.Uid != y.Uid || x.Gid != y.Gid || x.Rdev != y.Rdev {
		return false, nil
	}
	switch {
	case first.Mode()&fs.ModeSymlink != 0:
		one, err := a.Readlink(at)
		if err != nil {
			return false, err
		}
		other, err := b.Readlink(at)
		return one == other, err
	case first.Mode().IsRegular():
		if first.Size() != second.Size() {
			return false, nil
		}
		return sameContent(a, b, at)
	default:
		return true, nil
	}
}

func sameContent(a, b *os.Root, at string) (bool, error) {
	first, err := a.Open(at)
	if err != nil {
		return false, err
	}
	defer first.Close()
	second, err := b.Open(at)
	if err != nil {
		return false, err
	}
	defer second.Close()
	one, other := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, err := io.ReadFull(first, one)
		m, errOther := io.ReadFull(second, other)
		if !bytes.Equal(one[:n], other[:m]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return true, nil
		}
		if err != nil || errOther != nil {
			return false, errors.Join(err, errOther)
		}
	}
}
