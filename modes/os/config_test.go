package hostos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestConfig(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	read := func(text string) (Config, error) {
		path := filepath.Join(folder, "image.yaml")
		is.NoErr(os.WriteFile(path, []byte(text), 0o600))
		config, err := ReadConfig(path)
		is.True(err != nil || config.file == path)
		config.file = ""
		return config, err
	}
	missing, err := ReadConfig(filepath.Join(folder, "missing.yaml"))
	is.NoErr(err)
	is.Equal(missing, DefaultConfig())
	empty, err := read("# nothing\n")
	is.NoErr(err)
	is.Equal(empty, DefaultConfig())
	full, err := read(`root: /disk
boot: /efi
kernel: none
plainHTTP: ["127.0.0.1:5000"]
allowedRegistries: [registry.example.com]
credentials: /etc/auth.json
tries: 5
healthTimeout: 90s
`)
	is.NoErr(err)
	is.Equal(full, Config{
		Root: "/disk", Boot: "/efi", Kernel: "none", PlainHTTP: []string{"127.0.0.1:5000"}, AllowedRegistries: []string{"registry.example.com"},
		Credentials: "/etc/auth.json", Tries: 5, HealthTimeout: 90 * time.Second,
	})
	for text, message := range map[string]string{
		"rot: /x":             "rot",
		"root: x":             `root is "x"`,
		"boot: ''":            `boot is ""`,
		"kernel: maybe":       `kernel is "maybe"`,
		"tries: 0":            "tries is 0",
		"tries: many":         "many",
		"healthTimeout: -1s":  "healthTimeout is -1s",
		"healthTimeout: 5":    "there must be a duration",
		"root: /x\n---\na: 1": "one document",
		"[]":                  "image.yaml",
		"root: [":             "image.yaml",
	} {
		_, err := read(text)
		if !strings.Contains(fmt.Sprint(err), message) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
